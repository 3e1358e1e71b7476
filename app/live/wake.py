"""Wake-ups between processes: one constant channel that says "look at the log", and nothing else.

Broadcaster hangs silently when its backend's connection dies, does one thing at a
time on it, and queues without bound. So it carries no events; this process hears
itself every two seconds, and when it does not, everything is built anew. With the
broker gone subscribers are told a poll (250 ms) later, and none misses anything.
A process that hears no other one keeps to itself what nobody would hear.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import math
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from broadcaster import Broadcast

from app.live import metrics
from db.engine import asyncpg_dsn

CHANNEL = "oms"
WAKE = "wake"
BEAT = "beat"
BEAT_SECONDS = 2.0
SILENCE_SECONDS = 5.0
"""Nothing heard for so long, not even oneself: the connection is dead, whatever it says."""
ALONE_SECONDS = 5.0
"""After which a process that hears no other one takes it that there is none."""
ANSWER_SECONDS = 3.0

log = structlog.get_logger("wake")


def checked(url: str) -> str:
    """The address as broadcaster takes it; raises ValueError with what to write for one that cannot serve."""
    scheme = url.partition("://")[0]
    if scheme == "memory":
        return url
    if scheme in ("postgres", "postgresql", "postgresql+asyncpg"):
        dsn = asyncpg_dsn(url.replace("postgres://", "postgresql://", 1))
        # What is told is committed already, and a wake-up that is lost costs a poll: it waits for no disk.
        return f"{dsn}{'&' if '?' in dsn else '?'}application_name=oms-wake&synchronous_commit=off"
    if scheme in ("redis", "rediss"):
        try:
            version = importlib.metadata.version("redis")
        except importlib.metadata.PackageNotFoundError:
            raise ValueError("redis:// needs the extra `redis`: install maestro-oms[redis].") from None
        if int(version.partition(".")[0]) >= 8:
            raise ValueError(f"redis:// needs the package redis 7.4 up to 8; {version} delivers nothing.")
        return url
    raise ValueError(
        f"{scheme}:// cannot carry wake-ups: write memory://, postgresql://… or redis://… instead."
    )


class WakeUps:
    """Tells other processes that the log has grown, and is told: `woken` is called when another one says so."""

    def __init__(self, url: str, woken: Callable[[], None]) -> None:
        self._url = checked(url)
        self._woken = woken
        self._name = secrets.token_hex(8)
        self._due = asyncio.Event()
        self._grown = False
        self._company_at = -math.inf
        self.connected = asyncio.Event()
        """Whether the broker answers; for health and for tests."""

    def announce(self) -> None:
        """The log has grown. Announcements made while one is under way become one."""
        if self.in_company:
            self._grown = True
            self._due.set()

    @property
    def in_company(self) -> bool:
        """Whether another process was heard lately, or may be there that could not be heard yet."""
        return time.monotonic() - self._company_at < ALONE_SECONDS

    async def run(self) -> None:
        """Listen and speak until cancelled, building everything anew whenever anything fails."""
        failures = 0
        while True:
            try:
                await self._connected()
            except Exception as error:  # a broker may fail in ways that only its client knows
                failures = 0 if self.connected.is_set() else failures + 1
                self.connected.clear()
                metrics.WAKE_UPS.set(0)
                log.warning("wake_ups_lost", error=repr(error), failures=failures)
            await asyncio.sleep(min(5.0, 0.1 * 2 ** min(failures, 6)))

    async def _connected(self) -> None:
        async with contextlib.AsyncExitStack() as opened:
            broadcast = Broadcast(self._url)
            opened.push_async_callback(_quietly, _disconnect, broadcast)  # also when it cannot connect
            async with asyncio.timeout(ANSWER_SECONDS):
                await broadcast.connect()
            subscription = broadcast.subscribe(CHANNEL)
            async with asyncio.timeout(ANSWER_SECONDS):
                subscriber = await subscription.__aenter__()
            opened.push_async_callback(_quietly, subscription.__aexit__, None, None, None)
            await _first_to_fail(self._listen(subscriber), self._speak(broadcast))

    async def _listen(self, subscriber: Any) -> None:
        self._woken()  # what was announced while nobody listened
        self._company_at = time.monotonic()
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                heard = await subscriber.get()
            if not self.connected.is_set():
                self.connected.set()
                metrics.WAKE_UPS.set(1)
            if heard.message.endswith(self._name):
                continue
            if not self.in_company:
                self._due.set()  # it may not have heard us yet
            self._company_at = time.monotonic()
            if heard.message.startswith(WAKE):
                self._woken()

    async def _speak(self, broadcast: Any) -> None:
        kind = BEAT
        while True:
            async with asyncio.timeout(ANSWER_SECONDS):
                await broadcast.publish(CHANNEL, f"{kind} {self._name}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._due.wait()
            kind = WAKE if self._grown else BEAT
            self._grown = False
            self._due.clear()


async def _first_to_fail(*work: Coroutine[Any, Any, None]) -> None:
    """Run these together until one raises.

    Not a TaskGroup: on Python 3.11 that forgets that it was cancelled when one of its
    tasks fails in the same moment, and the supervisor would never end.
    """
    tasks = {asyncio.create_task(coroutine) for coroutine in work}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(broadcast: Broadcast) -> None:
    """Broadcaster's own way out raises when its listener has died, and then closes nothing."""
    backend = broadcast._backend
    tasks = [getattr(broadcast, "_listener_task", None), getattr(backend, "_listener", None)]
    listening = [task for task in tasks if isinstance(task, asyncio.Task)]
    for task in listening:
        task.cancel()
    try:
        await backend.disconnect()
    finally:
        await asyncio.gather(*listening, return_exceptions=True)


async def _quietly(close: Callable[..., Any], *arguments: Any) -> None:
    """Close what may be dead already, and do not wait for it."""
    try:
        async with asyncio.timeout(1):
            await close(*arguments)
    except Exception as error:  # the connection is given up; why it would not close changes nothing
        log.debug("wake_ups_not_closed", error=repr(error))
