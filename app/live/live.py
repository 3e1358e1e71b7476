"""The live path of one process: relay, wake-ups, tailer, and the transports that stream."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from app.auth import Authenticator
from app.graphql.requests import GraphQLRequest, PersistedDocuments
from app.live import metrics
from app.live.hub import Hub
from app.live.operations import Executes, Operations, PlansSubscriptions
from app.live.relay import Relay
from app.live.sse import Stream, header
from app.live.wake import WakeUps
from app.live.websocket import GOING_AWAY, Socket
from db.engine import asyncpg_dsn
from db.reads import Reads
from domain.access import Principal

READS = 4
"""Connections for rendering and for catching up, on the primary: a replica may not have an event yet."""

JITTER_SECONDS = 2.0
"""Over how long sockets are closed when the server goes away, so that their clients do not all return at once."""

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
    ) -> None:
        self._authenticator = authenticator
        self._documents = documents or PersistedDocuments()
        self._reads = Reads(database_url, size=READS)
        self.hub = Hub(asyncpg_dsn(database_url), self._reads)
        self.wake_ups = WakeUps(broadcast_url or database_url, self.hub.wake)
        self.relay = Relay(database_url, self._moved)
        self.poke: Callable[[], None] = self.relay.poke
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

    async def drain(self, jitter_seconds: float = JITTER_SECONDS) -> None:
        """Close every connection with "going away", spread over `jitter_seconds`; new ones are refused."""
        self._draining = True
        await asyncio.gather(*(_leave(connection, jitter_seconds) for connection in self._connections))

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: one WebSocket at `/graphql`."""
        socket = Socket(self._operations, self._authenticator, self._documents, scope, receive, send)
        with self._connected(socket, "websocket"):
            await socket.run(refuse=self._draining)

    async def stream(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: GraphQLRequest,
        principal: Principal,
    ) -> None:
        """One operation answered as `text/event-stream`, for `GraphQLEndpoint(streams=…)`."""
        expires = self._authenticator.principal_and_expiry(header(scope, b"authorization"))[1]
        stream = Stream(self._operations, self.hub, scope, receive, send)
        with self._connected(stream, "sse"):
            await stream.run(request, principal, expires)

    @contextlib.contextmanager
    def _connected(self, connection: Socket | Stream, transport: str) -> Iterator[None]:
        self._connections.add(connection)
        try:
            with metrics.CONNECTIONS.labels(transport).track_inprogress():
                yield
        finally:
            self._connections.discard(connection)

    def _moved(self) -> None:
        self.hub.wake()
        self.wake_ups.announce()


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
