"""One subscription on its way through the log: behind it, at its end, or cut off."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
import structlog

from app.live.rendering import LOST, Key, Payload, Rendering
from db.cursors import CURSOR_EXPIRED, EXPIRED
from services.feed import Selection

if TYPE_CHECKING:
    from app.live.hub import Hub

QUEUE = 64
"""Events that may wait for a slow reader; with one more it goes back to reading the log."""

PAGE = 200
"""Events of one read while catching up."""

RETRY_SECONDS = 0.2

log = structlog.get_logger("live")


class Gone(Exception):
    """The reader has left, or took nothing for longer than the deadline and was cut off."""


class Outlet(Protocol):
    """Where a subscription's payloads go: one operation of a socket, or a stream."""

    def offer(self, payload: Payload, position: int) -> bool:
        """Send now if that takes no waiting; False when it does."""

    async def send(self, payload: Payload, position: int) -> None:
        """Send as soon as the reader takes it; raises `Gone`."""

    def fail(self, message: str, code: str) -> None:
        """End the subscription with an error that the reader is told."""


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
        "_shown",
        "_task",
        "closed",
        "covered",
        "live",
        "rendering",
        "rest",
        "selection",
        "sent",
        "snapshots",
    )

    def __init__(
        self,
        hub: Hub,
        rendering: Rendering,
        selection: Selection,
        outlet: Outlet,
        *,
        position: int,
        snapshots: str | None = None,
    ) -> None:
        self._hub = hub
        self._outlet = outlet
        self._queue: deque[tuple[int, Payload]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._shown: Payload | None = None
        self.rendering = rendering
        self.selection = selection
        self.rest = tuple(selection.given()[1:])
        self.snapshots = snapshots
        self.sent = self.covered = position
        self.live = False
        self.closed = False

    def start(self) -> None:
        """Join the hub and begin."""
        self._hub.join(self)
        if self.snapshots is None and self.sent >= self._hub.tail:
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
        self._hub.leave(self)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def end(self, message: str, code: str) -> None:
        """Leave, and tell the reader why."""
        if not self.closed:
            self.close()
            self._outlet.fail(message, code)

    def wants(self, row: asyncpg.Record) -> bool:
        """Whether an event that the hub found by the first criterion meets the others too."""
        return self.live and all(row[column] in values for column, values in self.rest)

    def push(self, position: int, payload: Payload) -> None:
        """A payload, from the hub, in the order of positions."""
        if not self.live or position <= self.covered:
            return
        self.covered = position
        if self.snapshots is not None:
            if payload == self._shown:
                return
            self._shown = payload
        if self._task is None:
            if self._outlet.offer(payload, position):
                self.sent = position
                return
            self._queue.append((position, payload))
            self._run_soon()
        elif len(self._queue) < QUEUE:
            self._queue.append((position, payload))
        else:
            self._hub.overflows += 1
            self.fall_back()

    def fall_back(self) -> None:
        """Forget what is queued and read it from the log again."""
        if not self.live:
            return
        if self._queue:
            self.sent = max(self.sent, self._queue[0][0] - 1)
            self._queue.clear()
        elif self._task is None:
            self.sent = max(self.sent, self._hub.delivered)
        self._shown = None
        self.live = False
        if self._task is None:
            self._run_soon()

    def _run_soon(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            if self.snapshots is not None and not await self._first_snapshot():
                return
            while not self.closed:
                while self._queue:
                    position, payload = self._queue.popleft()
                    self.sent = position
                    await self._outlet.send(payload, position)
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
        if self._shown is not None or self.live:
            return True
        while True:
            try:
                rendered = await self.rendering.render(sorted(self.selection.orders or ()))
            except LOST:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            break
        if not rendered:
            self.end("There is nothing with this id that you may see.", "NOT_FOUND")
            return False
        for payload in rendered.values():
            self._shown = payload
            await self._outlet.send(payload, self.sent)
        return True

    async def _catch_up(self) -> None:
        """One page of the log, or live when there is none left."""
        until = self._hub.tail
        if self.sent >= until:
            self.covered = self.sent
            self.live = True
            return
        if self.sent < self._hub.horizon:
            self.end(EXPIRED, CURSOR_EXPIRED)
            return
        try:
            found, complete_until = await self._hub.read(self.selection, self.sent, until, PAGE)
            keys: dict[Key, int] = {}
            for row in found:
                keys[row["position"] if self.snapshots is None else row[self.snapshots]] = row["position"]
            rendered = await self.rendering.render(keys)
        except (*LOST, asyncpg.PostgresError) as error:
            log.warning("catch_up_failed", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)
            return
        for key, position in sorted(keys.items(), key=_by_position):
            payload = rendered.get(key)
            if payload is None or payload == self._shown:
                continue
            if self.snapshots is not None:
                self._shown = payload
            self.sent = position
            await self._outlet.send(payload, position)
        self.sent = max(self.sent, complete_until)


def _by_position(item: tuple[Any, int]) -> int:
    return item[1]
