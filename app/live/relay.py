"""The relay's loop: run at once when this process has committed, look around when others may have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import asyncpg
import structlog

from app.live import metrics
from db.engine import Engine, create_write_engine
from services import relay
from services.relay import Idle

BUSY_SECONDS = 0.005
"""Between batches: many commits share a batch, and none waits longer than this for its turn."""

IDLE_SECONDS = 0.1
"""How late an event may be that another process committed while nothing was going on."""

BUSY_ROUNDS = 20
"""Empty looks in a row before the pace drops to idle."""

log = structlog.get_logger("relay")


class Relay:
    """Moves committed events into the log until cancelled; `moved` is called after each batch's commit.

    Several processes may each run one: the row that `services.relay` locks is the
    fence, and whoever finds it free goes on where a dead one stopped.
    """

    def __init__(self, url: str, moved: Callable[[], None]) -> None:
        self._url = url
        self._moved = moved
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Something was committed in this process."""
        self._poked.set()

    async def run(self) -> None:
        engine = create_write_engine(self._url, pool_size=1, application_name="oms-relay")
        try:
            await self._run(engine)
        finally:
            await engine.dispose()

    async def _run(self, engine: Engine) -> None:
        empty = BUSY_ROUNDS
        failures = 0
        while True:
            was_poked = self._poked.is_set()
            self._poked.clear()
            try:
                outcome = await self._move(engine, look_first=not was_poked)
            except Exception as error:  # whatever it is, nothing would reach the log any more
                failures += 1
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
                    failures=failures,
                    exc_info=None if expected else error,
                )
                await asyncio.sleep(random.uniform(0.5, 1) * min(1.0, 0.1 * 2**failures))  # noqa: S311 - jitter
                continue
            failures = 0
            if isinstance(outcome, int):
                empty = 0
                metrics.RELAYED.inc(outcome)
                self._moved()
                if outcome >= relay.BATCH:
                    continue
            elif outcome is Idle.EMPTY:
                empty += 1
            await self._pause(busy=empty < BUSY_ROUNDS or outcome is Idle.TAKEN)

    async def _move(self, engine: Engine, *, look_first: bool) -> int | Idle:
        async with engine.begin() as session:
            if look_first and not await relay.is_waiting(session):
                return Idle.EMPTY
            return await relay.move(session)

    async def _pause(self, *, busy: bool) -> None:
        if busy:
            await asyncio.sleep(BUSY_SECONDS)
            return
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._poked.wait()
        except TimeoutError:
            pass
