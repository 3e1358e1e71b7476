"""GraphQL over server-sent events, each operation a request of its own ("distinct connections mode").

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
Every event of a log carries its cursor as the stream's event id, so that a browser's
EventSource, which sends the last one when it reconnects, goes on without a gap.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from app.graphql.answers import Result
from app.graphql.requests import GraphQLRequest
from app.live import frames, metrics
from app.live.hub import Hub
from app.live.operations import Operations, error_list
from app.live.subscribers import Gone, Item, Subscriber
from db.cursors import Cursor
from domain.access import Principal

SEND_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 12.0
"""Comments between events, so that no proxy takes a quiet stream for a dead one."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
COMPLETE = b"event: complete\ndata:\n\n"

log = structlog.get_logger("live")


class Stream:
    """One response that stays open until its operation ends or its client leaves."""

    def __init__(self, operations: Operations, hub: Hub, scope: Scope, receive: Receive, send: Send) -> None:
        self._operations = operations
        self._hub = hub
        self._scope = scope
        self._receive = receive
        self._send = send
        self._over = asyncio.Event()
        self._cut = False
        self._last_words = b""
        self._subscriber: Subscriber | None = None

    async def run(self, request: GraphQLRequest, principal: Principal, expires: float) -> None:
        """Stream the operation to its end. `expires` is when the principal's token does."""
        await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        resume = header(self._scope, b"last-event-id")
        try:
            outcome = await self._operations.start(
                request, principal, self, resume=resume, mutations=self._scope["method"] == "POST"
            )
            if isinstance(outcome, Subscriber):
                self._subscriber = outcome
                await self._stay(expires)
            else:
                await self._answer(outcome)
            await self._write(self._last_words + COMPLETE, more=False)
        except Gone:
            pass
        finally:
            if self._subscriber is not None:
                self._subscriber.close()

    def close(self) -> None:
        """The server is going away: end without `complete`, so that clients come again."""
        self._cut = True
        self._over.set()
        frames.abort(self._scope)

    # The outlet of a subscription.

    def offer(self, items: Sequence[Item]) -> bool:
        return False  # HTTP is written through `send`, which may wait

    async def send(self, items: Sequence[Item]) -> None:
        epoch = self._hub.epoch
        chunks = [
            b"id: %b\nevent: next\ndata: %b\n\n" % (str(Cursor(epoch, position)).encode(), payload)
            for position, payload in items
        ]
        await self._write(b"".join(chunks))

    def fail(self, message: str, code: str) -> None:
        self._last_words = _next(b'{"errors":' + error_list(message, code) + b"}")
        self._over.set()

    # The response.

    async def _answer(self, result: Result) -> None:
        await self._write(_next(result.body))

    async def _stay(self, expires: float) -> None:
        """Keep the stream open, and alive, until something ends it."""
        left = asyncio.create_task(self._left())
        over = asyncio.create_task(self._over.wait())
        try:
            while not self._over.is_set():
                seconds = min(KEEP_ALIVE_SECONDS, max(expires - time.time(), 1.0))
                done, _ = await asyncio.wait({left, over}, timeout=seconds, return_when="FIRST_COMPLETED")
                if left in done:
                    raise Gone
                if not done and time.time() >= expires:
                    self.fail("The token has expired.", "UNAUTHENTICATED")
                elif not done:
                    await self._write(b":\n\n")
        finally:
            left.cancel()
            over.cancel()
        if self._cut:
            raise Gone

    async def _left(self) -> None:
        while True:
            message: Any = await self._receive()
            if message["type"] == "http.disconnect":
                return

    async def _write(self, chunk: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except TimeoutError:
            metrics.EVICTIONS.inc()
            log.warning("slow_reader_cut_off", seconds=SEND_SECONDS)
            frames.abort(self._scope)
            raise Gone from None
        except (OSError, RuntimeError) as error:
            raise Gone from error


def _next(payload: bytes) -> bytes:
    return b"event: next\ndata: " + payload + b"\n\n"


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this name, in lower case."""
    for header, value in scope["headers"]:
        if header == name:
            return bytes(value).decode("latin-1")
    return None
