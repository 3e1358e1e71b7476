"""The live path of one process: relay, wake-ups, tailer, and the transports that stream."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

import asyncpg
import structlog
from starlette.types import Receive, Scope, Send

from app.auth import Authenticator
from app.graphql.requests import GraphQLRequest, PersistedDocuments
from app.live import metrics, multipart, sse
from app.live.bounds import Bounds
from app.live.hub import Hub
from app.live.operations import Executes, Operations, PlansSubscriptions
from app.live.relay import Relay
from app.live.streams import Format, Stream, header
from app.live.wake import WakeUps
from app.live.websocket import GOING_AWAY, TRY_AGAIN_LATER, Socket
from db.engine import asyncpg_dsn
from db.reads import Reads
from domain.access import Principal

RENDERING_CONNECTIONS = 2
"""Beside those of readers that catch up. On the primary: a replica may not have an event yet."""

Answers = Callable[[Scope, Receive, Send, GraphQLRequest, Principal], Awaitable[None]]
"""Answers a request over a media type that streams."""

log = structlog.get_logger("live")


class Live:
    """Everything that follows the log in this process.

    `poke` is for the unit of work's `on_commit`. `websocket` and `stream` serve
    connections; `drain` closes them, before the server stops listening to them.
    """

    def __init__(
        self,
        database_url: str,
        broadcast_url: str | None,
        *,
        planner: PlansSubscriptions,
        authenticator: Authenticator,
        execute: Executes,
        documents: PersistedDocuments | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        bounds = bounds or Bounds()
        self._authenticator = authenticator
        self._documents = documents or PersistedDocuments()
        self._reads = Reads(database_url, size=bounds.replay_connections + RENDERING_CONNECTIONS)
        self.hub = Hub(asyncpg_dsn(database_url), self._reads, bounds)
        self.wake_ups = WakeUps(broadcast_url or database_url, self.hub.wake)
        self.relay = Relay(database_url, self._moved)
        self.poke: Callable[[], None] = self.relay.poke
        self.on_moved: Callable[[Sequence[asyncpg.Record]], None] = lambda _: None
        """Called with each batch that this process's relay has moved into the log."""
        self._operations = Operations(planner, execute, self.hub)
        self._connections: set[Socket | Stream] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False

    async def start(self, *, relay: bool = True) -> None:
        """Run in the background; returns once subscriptions can be served."""
        work: list[Coroutine[Any, Any, None]] = [self.hub.run(), self.wake_ups.run()]
        if relay:
            work.append(self.relay.run())
        self._tasks = [asyncio.create_task(coroutine) for coroutine in work]
        for task in self._tasks:
            task.add_done_callback(_report)
        await self.hub.ready.wait()

    async def stop(self) -> None:
        await cancel(self._tasks)
        await self._reads.close()

    async def drain(self, jitter_seconds: float | None = None) -> None:
        """Close every connection with "going away"; new ones are refused.

        Spread over `jitter_seconds`, by default the bound's, so that their clients do not all return at once.
        """
        self._draining = True
        if jitter_seconds is None:
            jitter_seconds = self.hub.bounds.drain_seconds
        await asyncio.gather(*(_leave(connection, jitter_seconds) for connection in self._connections))

    async def close_revoked(self) -> int:
        """Close every connection whose credentials have ended, sockets with 4403; returns how many those were.

        For whoever learns that something was revoked; a token's own end needs nobody.
        """
        closed = 0
        for connection in list(self._connections):
            if connection.caller is None or await self._authenticator.still_valid(connection.caller):
                continue
            closed += 1
            if isinstance(connection, Socket):
                await connection.refuse("the credentials have been revoked")
            else:
                connection.refuse("The credentials have been revoked.")
        return closed

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: one WebSocket at `/graphql`."""
        bounds = self.hub.bounds
        socket = Socket(self._operations, self._authenticator, self._documents, bounds, scope, receive, send)
        if self._draining or self._full:
            metrics.REFUSED.inc()
            await socket.run(refuse=GOING_AWAY if self._draining else TRY_AGAIN_LATER)
            return
        with self._connected(socket, "websocket"):
            await socket.run()

    @property
    def streams(self) -> dict[str, Answers]:
        """What answers over HTTP by media type, for `GraphQLEndpoint(streams=…)`."""
        return {
            sse.MEDIA_TYPE: functools.partial(self._stream, sse.ServerSentEvents(), "sse"),
            multipart.MEDIA_TYPE: functools.partial(self._stream, multipart.MultipartMixed(), "multipart"),
        }

    async def _stream(
        self,
        format: Format,
        transport: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: GraphQLRequest,
        principal: Principal,
    ) -> None:
        if self._draining or self._full:
            metrics.REFUSED.inc()
            await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]})
            await send({"type": "http.response.body", "body": b""})
            return
        caller = await self._authenticator.admit(header(scope, b"authorization"))
        stream = Stream(format, caller, self._operations, self.hub, scope, receive, send)
        with self._connected(stream, transport):
            await stream.run(request)

    @property
    def _full(self) -> bool:
        return len(self._connections) >= self.hub.bounds.connections

    @contextlib.contextmanager
    def _connected(self, connection: Socket | Stream, transport: str) -> Iterator[None]:
        gauge = metrics.OF_TRANSPORT[transport]
        self._connections.add(connection)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()
            self._connections.discard(connection)

    def _moved(self, rows: Sequence[asyncpg.Record]) -> None:
        self.hub.hand(rows)
        self.wake_ups.announce()
        self.on_moved(rows)


async def _leave(connection: Socket | Stream, jitter_seconds: float) -> None:
    await asyncio.sleep(random.uniform(0, jitter_seconds))  # noqa: S311 - jitter
    if isinstance(connection, Socket):
        await connection.close(GOING_AWAY, "Going away")
    else:
        connection.close()


async def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel these and wait for their ends.

    Again every second: the drivers lose a cancellation now and then (one that comes
    while a connection is made, say), and stopping must not wait for ever because of it.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=1)


def _report(task: asyncio.Task[None]) -> None:
    """These run until they are cancelled: anything else is a bug that must be seen."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("live_path_stopped", exc_info=task.exception())
