"""How uvicorn serves the application, and the one place where its HTTP protocol is changed."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.live.upgrade import too_large, upgrade
from app.settings import Settings

MESSAGE_LIMIT_BYTES = 65_536
"""Longest WebSocket message that is read, and longest head of an HTTP request."""


HEAD_SECONDS = 10.0
"""From connecting, or from the first letter of a further request, to the end of its head."""


class JoinedWrites:
    """A transport that holds a part back until the next one, at most until the loop's next turn.

    uvicorn writes the head of a response and its body apart, and each write is a system
    call that wakes the client: together they cost half.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._held is None:
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            joined = self._held + data
            self._held = None
            self._transport.write(joined)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held = None
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held is not None and not self._transport.is_closing():
            self._transport.write(held)


HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's own, with joined writes, and with an end to waiting for the head of a request, in time and bytes."""

    _late: asyncio.TimerHandle | None = None
    _progress = False
    _unused = 0
    """Bytes that came since there was progress: a head that is complete, a piece of a body, the end of a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """The parser keeps every letter of a head, of a trailer, of a chunk's extension, however many come."""
        self._progress = False
        super().data_received(data)
        if self._progress:
            self._unused = 0
            return
        self._unused += len(data)
        if self._unused > MESSAGE_LIMIT_BYTES:
            self.transport.write(HEAD_TOO_LARGE if self._late is not None else b"")
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._late is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._progress = True
        self._had_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._had_head()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        if too_large(self):
            self.transport.write(HEAD_TOO_LARGE)
            self.transport.close()
        elif not upgrade(self):
            super().handle_websocket_upgrade()

    def _await_head(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._cut)

    def _had_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _cut(self) -> None:
        """Whoever connects and says nothing, or a letter now and then, holds a socket and pays nothing."""
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = JoinedWrites(self.transport, self.loop)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)


def configuration(application: ASGIApp, settings: Settings) -> uvicorn.Config:
    """The web server of one process."""
    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        log_config=None,
        access_log=False,  # ours has the request id
        server_header=False,
        date_header=False,
        ws="websockets-sansio",  # the live path writes prebuilt frames to this one's transport
        ws_per_message_deflate=False,  # 34 → 8 µs a send and 58 → 25 KB a connection without it
        ws_max_size=MESSAGE_LIMIT_BYTES,
        ws_ping_interval=settings.live_ping_seconds,
        ws_ping_timeout=settings.live_ping_seconds,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
        timeout_keep_alive=75,  # longer than the usual proxy's 60 s, which then closes first
        h11_max_incomplete_event_size=MESSAGE_LIMIT_BYTES,
        lifespan="on",
    )
