"""Writing to a client's connection without waiting and without copying what many clients get.

A server's WebSocket frames are not masked, so a header, a client's own prefix and a
payload that thousands share make a finished frame. It goes straight to the transport
of uvicorn's sansio implementation when that would take it at once; everything else
goes the ordinary way, through `send`. uvicorn is pinned exactly because of this file.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.live.audiences import Item

CONNECTION = "oms.connection"
"""Where `Connections` keeps what is behind `send`."""

END = b"}"
"""What closes a message after its payload."""

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
        scope.pop(CONNECTION, None)  # it knows the scope: a circle that only the collector frees


class Frames:
    """Makes the frames of items, and keeps what it made last.

    A thousand clients that chose the same id are sent the same bytes, one after the other: made once.
    """

    __slots__ = ("_items", "_made", "_prefix")

    def __init__(self) -> None:
        self._items: Sequence[Item] = ()
        self._prefix = self._made = b""

    def of(self, prefix: bytes, items: Sequence[Item]) -> bytes:
        """An unmasked text frame for each item, one after the other: prefix, payload and the end of a message."""
        if items is not self._items or prefix != self._prefix:
            self._items, self._prefix = items, prefix
            self._made = _joined(prefix, [item[1] for item in items])
        return self._made


def _joined(prefix: bytes, payloads: Sequence[bytes]) -> bytes:
    around = len(prefix) + len(END)
    # Events of one order are mostly of a few lengths: what stands before them is made once for each.
    before = {length: _head(around + length) + prefix for length in set(map(len, payloads))}
    parts: list[bytes] = []
    for payload in payloads:
        parts += (before[len(payload)], payload, END)
    return b"".join(parts)


def _head(length: int) -> bytes:
    """What begins the frame of a message."""
    if length < 126:
        return bytes((TEXT, length))
    if length < 65_536:
        return bytes((TEXT, 126, length >> 8, length & 255))
    return bytes((TEXT, 127)) + length.to_bytes(8, "big")


_FRAMES = Frames()


class DirectFrames:
    """A WebSocket's transport, while it takes frames at once."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol

    def write(self, prefix: bytes, items: Sequence[Item]) -> bool:
        """Whether the frames are on their way; False, and nothing sent, when the client is behind or leaving."""
        if not self._takes():
            return False
        self._protocol.transport.write(_FRAMES.of(prefix, items))
        return True

    def write_message(self, message: bytes) -> bool:
        """The same for one message that is nobody else's."""
        if not self._takes():
            return False
        self._protocol.transport.write(_head(len(message)) + message)
        return True

    def _takes(self) -> bool:
        return self._protocol.writable.is_set() and not self._left()

    def _left(self) -> bool:
        protocol = self._protocol
        return protocol.close_sent or protocol.disconnected or protocol.transport.is_closing()

    async def written(self, prefix: bytes, items: Sequence[Item]) -> bool:
        """Write as soon as the client has taken most of what it was sent; False when it has left.

        Several may wait on one connection: whoever writes first may make the others wait again.
        """
        while not self.write(prefix, items):
            if self._left():
                return False
            await self._protocol.writable.wait()
        return True

    def cut(self) -> None:
        """End the connection now, as `abort` does; also when the application has ended."""
        self._protocol.transport.abort()

    def is_behind(self) -> bool:
        """Whether the client has yet to take something: an orderly close waits until it has."""
        return bool(self._protocol.transport.get_write_buffer_size())


def direct_frames(scope: MutableMapping[str, Any]) -> DirectFrames | None:
    """The short way to this WebSocket, or None where the server is another one."""
    connection = scope.get(CONNECTION)
    return DirectFrames(connection) if isinstance(connection, WebSocketsSansIOProtocol) else None


def abort(scope: MutableMapping[str, Any]) -> None:
    """Cut the connection now: an orderly close would wait for ever behind a buffer nobody reads."""
    transport = getattr(scope.get(CONNECTION), "transport", None)
    if transport is not None:
        transport.abort()
