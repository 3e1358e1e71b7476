"""Thousands of WebSocket subscribers in one thread of C, so that the client is not what is measured.

The program is `../shared/peers/wsbench`, built here with the token that our server wants. Latency is the
difference of the monotonic clock and the member `ts` of what comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.servers import ROOT, Skipped

SOURCE = ROOT.parent / "shared" / "peers" / "wsbench" / "wsbench.c"
READY_SECONDS = 120.0


async def build(directory: Path, token: str) -> Path:
    """The swarm's program for this token. Raises `Skipped` where it cannot be built."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Skipped("there is no C compiler for the swarm of subscribers")
    if not SOURCE.exists():
        raise Skipped("the swarm of subscribers is not beside this checkout, in ../shared/peers/wsbench")
    source, program = directory / "swarm.c", directory / "swarm"
    source.write_text(SOURCE.read_text().replace("Bearer x", f"Bearer {token}"))
    process = await asyncio.create_subprocess_exec(
        compiler, "-O2", "-w", "-o", str(program), str(source), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise Skipped(f"the swarm of subscribers does not compile: {said.decode()[-300:]}")
    return program


@dataclass(slots=True)
class Swarm:
    """Subscribers that are connected, or connecting."""

    process: asyncio.subprocess.Process

    async def ready(self) -> None:
        """Until everybody has subscribed."""
        async with asyncio.timeout(READY_SECONDS):
            while await self._line() != "READY":
                pass

    async def reset(self) -> None:
        await self._say("RESET")
        await self._line()

    async def report(self) -> dict[str, Any]:
        await self._say("REPORT")
        while not (line := await self._line()).startswith("{"):
            pass
        found: dict[str, Any] = orjson.loads(line)
        if found["errs"]:
            raise RuntimeError(f"{found['errs']} subscribers were told of errors")
        return found

    async def until(self, messages: int, *, within: float) -> dict[str, Any]:
        """The report once so many messages have come; RuntimeError when they do not come in time."""
        deadline = asyncio.get_running_loop().time() + within
        while (found := await self.report())["msgs"] < messages:
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"{found['msgs']} of {messages} messages came within {within} s: {found}")
            await asyncio.sleep(0.05)
        return found

    async def _say(self, command: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - a pipe
        self.process.stdin.write(command.encode() + b"\n")
        await self.process.stdin.drain()

    async def _line(self) -> str:
        assert self.process.stdout is not None  # noqa: S101 - a pipe
        line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError("the swarm of subscribers ended")
        return line.decode().strip()


@contextlib.asynccontextmanager
async def swarm(
    program: Path, port: int, path: str, count: int, template: str | None = None, *, channels: int = 1
) -> AsyncIterator[Swarm]:
    """`count` subscribers; `template` is the subscribe message, with `%x` for the number modulo `channels`."""
    file = program.with_name("template.json")
    file.write_text(template or "")
    mode = "bare" if template is None else "gql"
    process = await asyncio.create_subprocess_exec(
        str(program), str(port), path, str(count), mode, "0", "0", str(file), str(channels),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Swarm(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
