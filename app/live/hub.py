"""The one reader of the log in a process, and everybody it tells.

Reads `position > tail` when woken and every 250 ms regardless. A hole in the
positions is an error that is logged and read again, never skipped. Of each batch
every rendering that somebody shares is made once, and then handed out in order.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
import sqlalchemy as sa
import structlog

from app.live import metrics
from app.live.audiences import Audience, Audiences
from app.live.bounds import Bounds
from app.live.rendering import LOST, Key, Payload, Plan, Rendering
from app.live.replay import WINDOW, Replay
from app.live.statements import compiled
from app.live.subscribers import Subscriber
from db.reads import Reads
from domain.access import Principal
from services import feed
from services.feed import Head, Selection

CHECK_SECONDS = 5.0
"""How often the log's epoch and horizon are looked at."""

BATCH = 1000
HANDED = 16
"""Batches that may wait to be taken up; older ones are read from the log."""

SLICE = 32
"""Events that a subscriber is handed at once: one write for it, and at most half of what may wait in its queue."""

BREATH = 500
"""Writes between two breaths of the event loop."""

log = structlog.get_logger("live")


@lru_cache(maxsize=256)
def _selecting(
    made_by: Callable[[Sequence[str]], sa.Select[Any]], columns: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """The statement that reads what is selected by these columns: making it takes longer than its execution."""
    return compiled(made_by(columns))


_TAIL_SQL, _TAIL_NAMES = compiled(feed.matched_after())
_WAITING_SQL, _ = compiled(feed.WAITING)
_HEAD_SQL, _ = compiled(feed.READ_HEAD)
_PRODUCTS_SQL, _ = compiled(feed.products_by_sku())


async def _head(connection: asyncpg.Connection[Any]) -> Head:
    row = await connection.fetchrow(_HEAD_SQL)
    if row is None:
        raise RuntimeError("the relay's row is missing: the database was not migrated")
    return Head(**row)


class Hub:
    """Tails the log until cancelled and keeps the subscribers.

    `tail` is how far events have been taken up, `delivered` how far they have been
    handed out; positions beyond `horizon` are in the log.
    """

    def __init__(self, dsn: str, reads: Reads, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self._dsn = dsn
        self._database = reads
        self._wake = asyncio.Event()
        self._look = True
        self._handed: deque[Sequence[asyncpg.Record]] = deque(maxlen=HANDED)
        self._reads = asyncio.Semaphore(self.bounds.replay_connections)
        self.replay = Replay(reads, self._reads, self.bounds.replay_events)
        self.audiences = Audiences()
        self._checked_at = 0.0
        self._epoch: Any = None
        self.ready = asyncio.Event()
        self.tail = 0
        self.delivered = 0
        self.horizon = 0
        self.overflows = 0

    @property
    def subscribers(self) -> set[Subscriber]:
        return self.audiences.subscribers

    @property
    def epoch(self) -> Any:
        """The log's, once `ready`; cursors of another one are expired."""
        return self._epoch

    def wake(self) -> None:
        """The log may have grown."""
        self._look = True
        self._wake.set()

    def hand(self, rows: Sequence[asyncpg.Record]) -> None:
        """The log has grown by these: `feed.MATCHED`, as this process's relay has just committed them."""
        self._handed.append(rows)
        self._wake.set()

    def audience(
        self,
        plan: Plan,
        principal: Principal,
        response_key: str,
        selection: Selection,
        snapshots: str | None = None,
        latest_by: tuple[str, ...] = (),
    ) -> Audience:
        """Everybody who follows this selection and is shown the same of it."""
        rendering = Rendering(plan, principal, response_key, self._database)
        return self.audiences.of(rendering, selection, snapshots, latest_by)

    # Reading the log.

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                async with self._connected() as connection:
                    failures = 0
                    await self._tail(connection)
            except Exception as error:  # whatever it is, nobody would be told of anything any more
                failures += 1
                expected = isinstance(error, (*LOST, asyncpg.PostgresError))
                log.warning(
                    "tailer_lost",
                    error=repr(error)[:200],
                    failures=failures,
                    exc_info=None if expected else error,
                )
                await asyncio.sleep(min(1.0, 0.05 * 2**failures))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await asyncpg.connect(
            self._dsn, timeout=5, command_timeout=5, server_settings={"application_name": "oms-tail"}
        )
        try:
            yield connection
        finally:
            connection.terminate()

    async def _tail(self, connection: asyncpg.Connection[Any]) -> None:
        await self._check(connection)
        self._look = True
        while True:
            if asyncio.get_running_loop().time() - self._checked_at > CHECK_SECONDS:
                await self._check(connection)
            self._wake.clear()
            while self._handed:
                await self._take_handed(self._handed.popleft())
            if self._look:
                self._look = False
                while await self._advance(connection):
                    pass
            try:
                async with asyncio.timeout(self.bounds.poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._look = True

    async def _check(self, connection: asyncpg.Connection[Any]) -> None:
        """Look whether the log is still the one that was being read."""
        head = await _head(connection)
        metrics.RELAY_LAG.set(max(0.0, await connection.fetchval(_WAITING_SQL) or 0.0))
        self._checked_at = asyncio.get_running_loop().time()
        self.horizon = head.horizon
        if self._epoch is None:
            self._epoch, self.tail, self.delivered = head.epoch, head.position, head.position
            self.ready.set()
        elif head.epoch != self._epoch or head.position < self.tail or self.tail < head.horizon:
            log.error("log_replaced", tail=self.tail, position=head.position, horizon=head.horizon)
            self._epoch, self.tail, self.delivered = head.epoch, head.position, head.position
            for subscriber in list(self.subscribers):
                subscriber.expire()

    async def head(self) -> Head:
        """Where the log stands in the database, which may be ahead of this process."""
        async with self._database.connection() as connection:
            return await _head(connection)

    async def products(self, skus: Sequence[str]) -> dict[str, UUID]:
        """The products that these SKUs name; the unknown are absent."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PRODUCTS_SQL, list(skus))
        return {row["sku"]: row["id"] for row in rows}

    async def read(
        self, selection: Selection, after: int, until: int, limit: int
    ) -> tuple[Sequence[asyncpg.Record], int]:
        """Selected events after `after`, and the position up to which these are all of them."""
        if feed.INDEXED.isdisjoint(selection.columns):
            until = min(until, after + WINDOW)
        sql, names = _selecting(feed.selected, selection.columns)
        values = {"after": after, "until": until, "limit": limit, **selection.values()}
        async with self._reads, self._database.connection() as connection:
            rows = await connection.fetch(sql, *(values[name] for name in names))
        return rows, rows[-1]["position"] if len(rows) == limit else until

    async def newest(self, selection: Selection, limit: int) -> list[int]:
        """The positions of the last events that are selected, the newest first."""
        sql, names = _selecting(feed.newest, selection.columns)
        values = {"limit": limit, **selection.values()}
        async with self._reads, self._database.connection() as connection:
            rows = await connection.fetch(sql, *(values[name] for name in names))
        return [row["position"] for row in rows]

    async def _advance(self, connection: asyncpg.Connection[Any]) -> bool:
        """Read one batch and take it up; True when there may be more."""
        values = {"after": self.tail, "limit": BATCH}
        rows = await connection.fetch(_TAIL_SQL, *(values[name] for name in _TAIL_NAMES))
        if not rows:
            return False
        if rows[0]["position"] != self.tail + 1 or rows[-1]["position"] != self.tail + len(rows):
            log.error("hole_in_log", tail=self.tail, found=rows[0]["position"], rows=len(rows))
            await asyncio.sleep(self.bounds.poll_seconds)
            await self._check(connection)
            return True
        await self._take_up(rows)
        return len(rows) == BATCH

    async def _take_handed(self, rows: Sequence[asyncpg.Record]) -> None:
        """Take up a batch that need not be read, if it is the next one; else the log is read."""
        first, last = rows[0]["position"], rows[-1]["position"]
        if first == self.tail + 1 and last == self.tail + len(rows):
            await self._take_up(rows)
        elif last > self.tail:
            self._look = True

    async def _take_up(self, rows: Sequence[asyncpg.Record]) -> None:
        """Hand out the next events of the log."""
        due: dict[Audience, dict[Key, asyncpg.Record]] = {}
        for row in rows:
            for audience in self.audiences.told(row):
                audience.add(due.setdefault(audience, {}), row)
        # Nothing is awaited between these two statements: whoever goes live later has read
        # the batch itself, whoever is live already is told.
        told = [(audience, keys, audience.live_members()) for audience, keys in due.items()]
        self.tail = rows[-1]["position"]
        await self._hand_out([(audience, keys, members) for audience, keys, members in told if members])
        self.delivered = self.tail
        metrics.TAIL.set(self.tail)
        last = rows[-1]
        metrics.RELAY_LAG.set(max(0.0, (last["logged_at"] - last["created_at"]).total_seconds()))
        metrics.TAIL_LAG.set(max(0.0, time.time() - last["created_at"].timestamp()))

    async def _hand_out(
        self, told: list[tuple[Audience, dict[Key, asyncpg.Record], list[Subscriber]]]
    ) -> None:
        wanted: dict[Rendering, dict[Key, Any]] = {}
        for audience, keys, _ in told:
            wanted.setdefault(audience.rendering, {}).update(keys)
        rendered = dict(
            zip(wanted, await asyncio.gather(*map(self._render, wanted, wanted.values())), strict=True)
        )
        handed = 0
        size = max(1, min(SLICE, self.bounds.queue_events // 2))
        for audience, keys, members in told:
            payloads = rendered[audience.rendering]
            if payloads is None:
                for member in members:
                    member.fall_back()
                continue
            items = audience.items(keys, payloads)
            for start in range(0, len(items), size):
                some = items[start : start + size]
                for member in members:
                    member.push(some)
                    handed += 1
                    if handed % BREATH == 0:
                        await asyncio.sleep(0)
                metrics.DELIVERIES.inc(len(some) * len(members))

    async def _render(self, rendering: Rendering, keys: Iterable[Key]) -> Mapping[Key, Payload] | None:
        """The payloads, or None when those who wait for them must read the log themselves."""
        try:
            return await rendering.render(keys)
        except LOST as error:
            log.warning("batch_not_rendered", error=repr(error))
            return None
