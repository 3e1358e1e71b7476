"""One GraphQL operation answered over an HTTP response that stays open: what its formats have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from app.auth import Caller
from app.graphql.answers import Result
from app.graphql.requests import GraphQLRequest
from app.live import frames, metrics
from app.live.audiences import Item
from app.live.hub import Hub
from app.live.operations import Operations, error_list
from app.live.subscribers import Gone, Subscriber
from db.cursors import Cursor

log = structlog.get_logger("live")


class Format(Protocol):
    """How results are written on a response."""

    content_type: bytes
    begin: bytes
    heartbeat: bytes
    """Between results, so that no proxy takes a quiet stream for a dead one."""
    end: bytes

    def event(self, cursor: Cursor, payload: bytes) -> bytes:
        """The result that shows the event at this place of the log."""

    def result(self, payload: bytes) -> bytes:
        """A result that is no event's."""

    def error(self, errors: bytes) -> bytes:
        """What ends a subscription: the JSON list of errors."""


class Stream:
    """One response that stays open until its operation ends or its client leaves."""

    def __init__(
        self,
        format: Format,
        caller: Caller,
        operations: Operations,
        hub: Hub,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.caller = caller
        self._format = format
        self._operations = operations
        self._hub = hub
        self._scope = scope
        self._receive = receive
        self._send = send
        self._over = asyncio.Event()
        self._cut = False
        self._last_words = b""
        self._subscriber: Subscriber | None = None

    async def run(self, request: GraphQLRequest) -> None:
        """Stream the operation to its end.

        `Last-Event-ID` is a cursor to go on from, whatever the format: EventSource sends it by itself.
        """
        headers = [
            (b"content-type", self._format.content_type),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._write(self._format.begin)
            outcome = await self._operations.start(
                request,
                self.caller.principal,
                self,
                resume=header(self._scope, b"last-event-id"),
                mutations=self._scope["method"] == "POST",
            )
            if isinstance(outcome, Subscriber):
                self._subscriber = outcome
                await self._stay()
            else:
                await self._answer(outcome)
            await self._write(self._last_words + self._format.end, more=False)
        except Gone:
            pass
        finally:
            if self._subscriber is not None:
                self._subscriber.close()

    def close(self) -> None:
        """The server is going away: cut without an end, so that clients come again."""
        self._cut = True
        self._over.set()
        frames.abort(self._scope)

    def refuse(self, reason: str) -> None:
        """End it, because its credentials count no longer."""
        self.fail(reason, {"code": "UNAUTHENTICATED"})

    # The outlet of a subscription.

    def offer(self, items: Sequence[Item]) -> bool:
        return False  # HTTP is written through `send`, which may wait

    async def send(self, items: Sequence[Item]) -> None:
        epoch = self._hub.epoch
        await self._write(b"".join([self._format.event(Cursor(epoch, item[0]), item[1]) for item in items]))

    def fail(self, message: str, extensions: Mapping[str, Any]) -> None:
        if not self._over.is_set():
            self._last_words = self._format.error(error_list(message, extensions))
            self._over.set()

    # The response.

    async def _answer(self, result: Result) -> None:
        await self._write(self._format.result(result.body))

    async def _stay(self) -> None:
        """Keep the stream open, and alive, until something ends it."""
        left = asyncio.create_task(self._left())
        over = asyncio.create_task(self._over.wait())
        try:
            while not self._over.is_set():
                seconds = min(self._hub.bounds.heartbeat_seconds, max(self.caller.expires - time.time(), 1.0))
                done, _ = await asyncio.wait({left, over}, timeout=seconds, return_when="FIRST_COMPLETED")
                if left in done:
                    raise Gone
                if not done and time.time() >= self.caller.expires:
                    self.refuse("The token has expired.")
                elif not done:
                    await self._write(self._format.heartbeat)
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
        if not chunk and more:
            return
        seconds = self._hub.bounds.send_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except TimeoutError:
            metrics.EVICTIONS.inc()
            log.warning("slow_reader_cut_off", seconds=seconds)
            frames.abort(self._scope)
            raise Gone from None
        except (OSError, RuntimeError) as error:
            raise Gone from error


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this name, in lower case."""
    for header, value in scope["headers"]:
        if header == name:
            return bytes(value).decode("latin-1")
    return None
