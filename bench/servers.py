"""The servers that are measured: started as processes of their own, one worker each, ended when the run ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEER = ROOT.parent / "shared" / "peers" / "mercurius"
START_TIMEOUT_SECONDS = 60.0
NPM_TIMEOUT_SECONDS = 300.0


class Skipped(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers on loopback."""

    port: int
    pid: int
    start_seconds: float

    def memory_megabytes(self) -> float:
        """What the process holds of memory now (VmRSS)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"/proc says nothing of the memory of {self.pid}")


def on_one_core(command: list[str]) -> list[str]:
    taskset = shutil.which("taskset")
    return [taskset, "-c", "0", *command] if taskset and (os.cpu_count() or 1) > 1 else command


@contextlib.asynccontextmanager
async def serving(
    command: Sequence[str], environment: Mapping[str, str], port: int, *, log: Path, cwd: Path = ROOT
) -> AsyncIterator[Running]:
    """Run a server until the block ends; RuntimeError when it does not answer in time."""
    started = time.perf_counter()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **environment}, cwd=cwd, stdout=output, stderr=output
        )
    try:
        while not await _answers(port):
            if process.returncode is not None or time.perf_counter() - started > START_TIMEOUT_SECONDS:
                said = await asyncio.to_thread(log.read_text)
                raise RuntimeError(f"{command[0]} did not start: {said[-2000:]}")
            await asyncio.sleep(0.01)
        yield Running(port, process.pid, time.perf_counter() - started)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def ours(url: str, secret: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Our server as it is shipped: `oms serve`, one worker, workers and the relay inside, logs as JSON."""
    return [str(Path(sys.executable).parent / "oms"), "serve", "--port", str(port)], {
        "OMS_DATABASE_URL": url,
        "OMS_DEVELOPMENT_SECRET": secret,
        "OMS_LOG_FORMAT": "json",
    }


def uvicorn(application: str, dsn: str, port: int) -> tuple[list[str], dict[str, str]]:
    """A peer in Python, under the same web server and event loop as ours."""
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), "--no-access-log"]
    return [*command, "--log-level", "warning"], {"BENCH_DATABASE_URL": dsn}


async def mercurius(dsn: str, port: int, directory: Path) -> tuple[list[str], dict[str, str], Path]:
    """The peer in Node, installed into `directory` when it is not there yet. Raises `Skipped`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Skipped("node and npm are not installed")
    if not (PEER / "server.js").exists():
        raise Skipped("the peer is not beside this checkout, in ../shared/peers/mercurius")
    if not (directory / "node_modules" / "mercurius").exists():
        shutil.copytree(PEER, directory, dirs_exist_ok=True)
        install = "ci" if (directory / "package-lock.json").exists() else "install"
        process = await asyncio.create_subprocess_exec(
            npm, install, "--no-audit", "--no-fund", cwd=directory,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), NPM_TIMEOUT_SECONDS)
        if process.returncode:
            raise Skipped(f"npm {install} failed: {said.decode()[-300:]}")
    environment = {"PEER_DATABASE_URL": dsn, "PORT": str(port), "NODE_ENV": "production"}
    return [node, "server.js"], environment, directory
