"""The relay's loop: run at once when this process has committed, look around when others may have."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import structlog

from app.live import metrics
from app.live.statements import compiled
from db.engine import asyncpg_dsn
from services import relay

BUSY_SECONDS = 0.003
"""Between batches: many commits share a batch, and none waits longer than this for its turn."""

IDLE_SECONDS = 0.1
"""How late an event may be that another process committed after a long silence."""

OF_SILENCE = 1 / 50
"""The part of the others' silence so far after which the relay looks unasked: who was busy may soon be again."""

RIVAL_SECONDS = 0.02
"""For how long another relay may be at work that was in the way of what this process has just committed."""

log = structlog.get_logger("relay")

Moved = Callable[[Sequence[asyncpg.Record]], None]


class Relay:
    """Moves committed events into the log until cancelled; `moved` is given each batch after its commit.

    Several processes may each run one: the row that `services.relay` locks is the
    fence, and whoever finds it free goes on where a dead one stopped.
    """

    def __init__(self, url: str, moved: Moved) -> None:
        self._dsn = asyncpg_dsn(url)
        self._moved = moved
        self._poked = asyncio.Event()
        self._failures = 0

    def poke(self) -> None:
        """Something was committed in this process."""
        self._poked.set()

    async def run(self) -> None:
        while True:
            try:
                await self._connected()
            except Exception as error:  # whatever it is, nothing would reach the log any more
                self._failures += 1
                expected = isinstance(
                    error,
                    OSError
                    | TimeoutError
                    | asyncpg.PostgresError
                    | asyncpg.InterfaceError
                    | asyncpg.InternalClientError,
                )
                log.warning(
                    "relay_failed",
                    error=repr(error)[:200],
                    failures=self._failures,
                    exc_info=None if expected else error,
                )
                pause = min(1.0, 0.05 * 2**self._failures)
                await asyncio.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311 - jitter

    async def _connected(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, timeout=5, command_timeout=15, server_settings=_SETTINGS
        )
        try:
            await self._run(connection)
        finally:
            connection.terminate()

    async def _run(self, connection: asyncpg.Connection[Any]) -> None:
        sql, _ = compiled(relay.MOVE)
        move = await connection.prepare(sql)
        time = asyncio.get_running_loop().time
        last = time() - IDLE_SECONDS / OF_SILENCE
        sought_until = 0.0
        while True:
            poked = self._poked.is_set()
            self._poked.clear()
            began = time()
            rows = await move.fetch(relay.BATCH)
            self._failures = 0
            if rows:
                metrics.RELAYED.inc(len(rows))
                self._moved(rows)
                if len(rows) == relay.BATCH:
                    continue
            if not rows or time() - began < BUSY_SECONDS:  # else many have gathered meanwhile
                await asyncio.sleep(BUSY_SECONDS)
            if rows and not poked and not self._poked.is_set():  # others' rows: our own are asked for by now
                last = time()
            if rows:
                sought_until = 0.0
            elif poked:  # another relay may be at it that began before our commit
                sought_until = time() + RIVAL_SECONDS
            if time() >= sought_until:
                await self._pause(min(IDLE_SECONDS, (time() - last) * OF_SILENCE))

    async def _pause(self, seconds: float) -> None:
        if seconds > BUSY_SECONDS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds - BUSY_SECONDS):
                    await self._poked.wait()


_SETTINGS = {
    "application_name": "oms-relay",
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",  # one plan, whatever the outbox held when it was made
    "enable_seqscan": "off",  # and by its key: a plan made of an empty outbox would read all that was moved since
}
