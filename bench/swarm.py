"""Thousands of WebSocket subscribers as a process, so that the client is not what is measured.

The program is `../shared/peers/wsbench`, one thread of C, built here with the token that our server wants;
where that or a compiler is absent, `bench.swarm_client`. Latency is the difference of the monotonic clock and
the member `ts` of what comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.servers import ROOT

SOURCE = ROOT.parent / "shared" / "peers" / "wsbench" / "wsbench.c"
READY_SECONDS = 120.0

FIELDS = "cursor ts: actor type version occurredAt toStatus"
"""Of an event, its own fields alone; the writer puts the moment into the actor."""

_ORDER = "ord_01900000-0000-7d00-8000-%012x"


def following(selection: str, *, after: str | None = None, entity: str = "") -> str:
    """The subscribe message of a swarm; its one placeholder is the order's number."""
    query = (
        "subscription Follow($id: ID!, $after: String) { orderEvents(orderId: $id, after: $after) "
        f"{{ {selection} {entity} }} }}"
    )
    payload = {"query": query, "variables": {"id": _ORDER, "after": after}}
    return orjson.dumps({"id": "1", "type": "subscribe", "payload": payload}).decode()


@dataclass(frozen=True, slots=True)
class Program:
    """What is run for a swarm, and what a report calls it."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]

    @property
    def keeps_up(self) -> bool:
        """Whether it takes messages faster than any server here sends them."""
        return self.name == "wsbench"


async def build(directory: Path, token: str) -> Program:
    """The swarm's program for this token."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not SOURCE.exists():
        return Program("python", (sys.executable, "-m", "bench.swarm_client"), {"SWARM_TOKEN": token})
    source, program = directory / "swarm.c", directory / "swarm"
    source.write_text(SOURCE.read_text().replace("Bearer x", f"Bearer {token}"))
    process = await asyncio.create_subprocess_exec(
        compiler, "-O2", "-w", "-o", str(program), str(source), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the swarm of subscribers does not compile: {said.decode()[-300:]}")
    return Program("wsbench", (str(program),), {})


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
    program: Program, port: int, path: str, count: int, template: str | None = None, *, channels: int = 1
) -> AsyncIterator[Swarm]:
    """`count` subscribers; `template` is the subscribe message, with `%x` for the number modulo `channels`."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(template or "")
        file.flush()
        mode = "bare" if template is None else "gql"
        process = await asyncio.create_subprocess_exec(
            *program.command, str(port), path, str(count), mode, "0", "0", file.name, str(channels),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            cwd=ROOT, env={**os.environ, **program.environment},
        )  # fmt: skip
        try:
            yield Swarm(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
