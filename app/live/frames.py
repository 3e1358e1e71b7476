"""Writing to a client's connection without waiting and without copying what many clients get.

A server's WebSocket frames are not masked, so a header, a client's own prefix and a
payload that thousands share make a finished frame. It goes straight to the transport
of uvicorn's sansio implementation when that would take it at once; everything else
goes the ordinary way, through `send`. uvicorn is pinned exactly because of this file.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

CONNECTION = "oms.connection"
"""Where `Connections` keeps what is behind `send`."""

TEXT = 0x81
"""First byte of a frame: final, text (RFC 6455, 5.2)."""


class Connections:
    """ASGI: remembers the server's connection, which middleware hides behind functions of its own.

    Must be the outermost application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CONNECTION] = getattr(send, "__self__", None)
        await self._app(scope, receive, send)


def frames(prefix: bytes, payloads: Iterable[bytes], suffix: bytes) -> bytes:
    """An unmasked text frame around each payload, one after the other."""
    around = len(prefix) + len(suffix)
    parts: list[bytes] = []
    for payload in payloads:
        length = around + len(payload)
        if length < 126:
            header = bytes((TEXT, length))
        elif length < 65_536:
            header = bytes((TEXT, 126, length >> 8, length & 255))
        else:
            header = bytes((TEXT, 127)) + length.to_bytes(8, "big")
        parts += (header, prefix, payload, suffix)
    return b"".join(parts)


class DirectFrames:
    """A WebSocket's transport, while it takes frames at once."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol

    def write(self, prefix: bytes, payloads: Iterable[bytes], suffix: bytes) -> bool:
        """Whether the frames are on their way; False, and nothing sent, when the client is behind or leaving."""
        protocol = self._protocol
        if (
            not protocol.writable.is_set()
            or protocol.close_sent
            or protocol.disconnected
            or protocol.transport.is_closing()
        ):
            return False
        protocol.transport.write(frames(prefix, payloads, suffix))
        return True

    async def writable(self) -> None:
        """Until the client has taken most of what it was sent, or has left."""
        await self._protocol.writable.wait()


def direct_frames(scope: MutableMapping[str, Any]) -> DirectFrames | None:
    """The short way to this WebSocket, or None where the server is another one."""
    connection = scope.get(CONNECTION)
    return DirectFrames(connection) if isinstance(connection, WebSocketsSansIOProtocol) else None


def abort(scope: MutableMapping[str, Any]) -> None:
    """Cut the connection now: an orderly close would wait for ever behind a buffer nobody reads."""
    transport = getattr(scope.get(CONNECTION), "transport", None)
    if transport is not None:
        transport.abort()
