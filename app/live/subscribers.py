"""One subscription on its way through the log: behind it, at its end, or cut off."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
import structlog

from app.live import metrics
from app.live.audiences import Item
from app.live.expiry import expired
from app.live.rendering import LOST, Payload
from db.cursors import EXPIRED

if TYPE_CHECKING:
    from app.live.audiences import Audience
    from app.live.hub import Hub

SUBJECTS = 1_000
"""Orders whose newest events are gathered before they are shown, for those who want the newest alone."""

RETRY_SECONDS = 0.2

log = structlog.get_logger("live")


class Gone(Exception):
    """The reader has left, or took nothing for longer than the deadline and was cut off."""


class Outlet(Protocol):
    """Where a subscription's payloads go: one operation of a socket, or a stream."""

    def offer(self, items: Sequence[Item]) -> bool:
        """Send them now if that takes no waiting; False when it does, and nothing was sent."""

    async def send(self, items: Sequence[Item]) -> None:
        """Send them as soon as the reader takes them; raises `Gone`."""

    def fail(self, message: str, extensions: Mapping[str, Any]) -> None:
        """End the subscription with an error that the reader is told; `extensions` has its code."""


class Subscriber:
    """Follows the log from `position`: reads what it has missed, then is told by the hub.

    `sent` is how far it certainly is; `covered` how far its queue reaches. It is
    told only while `live`; it goes live in the same step of the loop in which it
    finds that it has read up to the hub's tail, so nothing can come in between.
    """

    __slots__ = (
        "_hub",
        "_outlet",
        "_queue",
        "_queued_bytes",
        "_shown",
        "_task",
        "audience",
        "closed",
        "covered",
        "live",
        "sent",
    )

    def __init__(self, hub: Hub, audience: Audience, outlet: Outlet, position: int) -> None:
        self._hub = hub
        self._outlet = outlet
        self._queue: deque[Item] = deque()
        self._queued_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._shown: Payload | None = None
        self.audience = audience
        self.sent = self.covered = position
        self.live = False
        self.closed = False

    def start(self) -> None:
        """Join the hub and begin."""
        self._hub.audiences.join(self)
        if self.audience.snapshots is None and self.sent >= self._hub.tail:
            self.live = True  # nothing to catch up with: no task until something cannot be sent at once
        else:
            self._run_soon()

    def close(self) -> None:
        """Leave. The outlet is its owner's to end."""
        if self.closed:
            return
        self.closed = True
        self.live = False
        self._queue.clear()
        self._hub.audiences.leave(self)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def end(self, message: str, code: str) -> None:
        """Leave, and tell the reader why."""
        if not self.closed:
            self.close()
            self._outlet.fail(message, {"code": code})

    def expire(self) -> None:
        """Leave, because the log does not lead on from here; the reader is told where it may go on."""
        if not self.closed:
            self.close()
            self._task = asyncio.create_task(self._tell_expired())

    async def _tell_expired(self) -> None:
        self._outlet.fail(EXPIRED, await expired(self._hub, self.audience))

    def push(self, items: Sequence[Item]) -> None:
        """Payloads, from the hub, in the order of their positions."""
        if not self.live:
            return
        if items[0][0] <= self.covered:
            items = [item for item in items if item[0] > self.covered]
            if not items:
                return
        self.covered = items[-1][0]
        if self.audience.snapshots is not None:
            items = self._changed(items)
        if self._task is None:
            if self._outlet.offer(items):
                self.sent = self.covered
                return
            self._enqueue(items)
            self._run_soon()
        elif not self._enqueue(items):
            self._hub.overflows += 1
            metrics.OVERFLOWS.inc()
            self.fall_back()

    def _enqueue(self, items: Sequence[Item]) -> bool:
        """Whether there was room for these to wait."""
        bounds = self._hub.bounds
        size = sum(len(item[1]) for item in items)
        too_many = len(self._queue) + len(items) > bounds.queue_events
        if self._queue and (too_many or self._queued_bytes + size > bounds.queue_bytes):
            return False
        self._queue.extend(items)
        self._queued_bytes += size
        return True

    def fall_back(self) -> None:
        """Forget what is queued and read it from the log again."""
        if not self.live:
            return
        if self._queue:
            self.sent = max(self.sent, self._queue[0][0] - 1)
            self._queue.clear()
            self._queued_bytes = 0
        elif self._task is None:
            self.sent = max(self.sent, self._hub.delivered)
        self._shown = None
        self.live = False
        if self._task is None:
            self._run_soon()

    def _changed(self, items: Sequence[Item]) -> list[Item]:
        """Snapshots that differ from the one before."""
        changed = []
        for item in items:
            if item[1] != self._shown:
                self._shown = item[1]
                changed.append(item)
        return changed

    def _run_soon(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            if self.audience.snapshots is not None and not await self._first_snapshot():
                return
            while not self.closed:
                while self._queue:
                    items = list(self._queue)
                    self._queue.clear()
                    self._queued_bytes = 0
                    self.sent = items[-1][0]
                    await self._outlet.send(self.audience.newest(items) if self.audience.coalesces else items)
                if self.live:
                    return
                await self._catch_up()
        except Gone:
            self.close()
        except Exception as error:  # a bug ends this subscription, visibly, and no other
            log.exception("subscription_broken", exc_info=error)
            self.end("Internal error.", "INTERNAL")
        finally:
            self._task = None  # the same step that found the queue empty: the next push sees it

    async def _first_snapshot(self) -> bool:
        """The state at the start; False when there is nothing to show, which ends the subscription."""
        if self._shown is not None or self.live:
            return True
        try:
            rendered = await self.audience.rendering.render(sorted(self.audience.selection.orders or ()))
        except LOST:
            await asyncio.sleep(RETRY_SECONDS)
            return await self._first_snapshot()
        if not rendered:
            self.end("There is nothing with this id that you may see.", "NOT_FOUND")
            return False
        items = self._changed([(self.sent, payload, key) for key, payload in rendered.items()])
        await self._outlet.send(items)
        return True

    async def _catch_up(self) -> None:
        """One page of the log, or live when there is none left."""
        until = self._hub.tail
        if self.sent >= until:
            self.covered = self.sent
            self.live = True
            return
        if self.sent < self._hub.horizon:
            self.expire()
            return
        try:
            items, complete_until = await self._read(until)
        except (*LOST, asyncpg.PostgresError) as error:
            log.warning("catch_up_failed", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)
            return
        if self.audience.snapshots is not None:
            items = self._changed(items)
        for some in self._portions(items):
            await self._outlet.send(some)
            metrics.REPLAYED.inc(len(some))
            self.sent = some[-1][0]
        self.sent = max(self.sent, complete_until)

    def _portions(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """These in writes that are no larger than what may wait for a reader, if single items are not."""
        if sum([len(item[1]) for item in items]) <= self._hub.bounds.queue_bytes:
            if items:
                yield items
            return
        start = size = 0
        for place, item in enumerate(items):
            if place > start and size + len(item[1]) > self._hub.bounds.queue_bytes:
                yield items[start:place]
                start, size = place, 0
            size += len(item[1])
        if start < len(items):
            yield items[start:]

    async def _read(self, until: int) -> tuple[list[Item], int]:
        """What comes after `sent`, and the position up to which that is all: a page, or more where it shrinks."""
        audience, page = self.audience, self._hub.bounds.replay_events
        if not audience.coalesces:
            return await self._hub.replay.page(audience, self.sent, until)
        items: list[Item] = []
        complete_until = self.sent
        while True:
            found, complete_until = await self._hub.read(audience.selection, complete_until, until, page)
            keys = audience.keys_of(found)
            items += audience.items(keys, await audience.rendering.render(keys))
            items = audience.newest(items)
            if complete_until >= until or len(items) >= SUBJECTS:
                return items, complete_until
