"""From an HTTP request to a WebSocket without parsing its head twice.

uvicorn writes the parsed head of an upgrade out again, for a second parser to read and
check. After a restart thousands of clients come back at once, and this was a fifth of what
that costs. A head that is in order, as clients send it, is taken over as it was parsed; any
other goes uvicorn's way, which answers what is wrong with it. uvicorn is pinned exactly
because of this file and `app.live.frames`.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64encode
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import OPEN, Protocol

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""

KEY_BYTES, KEY_LENGTH = 16, 24
VERSION = b"13"

MOST_HEADERS, LONGEST_LINE = 128, 8_000
"""Of the head of an upgrade. uvicorn's second parser refuses a little more, but the refusal is never sent."""

Headers = list[tuple[bytes, bytes]]


class Upgraded(WebSocketsSansIOProtocol):
    """uvicorn's, of a request whose head is in order."""

    _answer = b""

    def take_over(self, http: HttpToolsProtocol, key: bytes) -> None:
        """Go on with this connection, and run the application; what comes from now on are frames."""
        self.connections.add(self)
        self.transport, self.server, self.client = http.transport, http.server, http.client
        self.scheme = "wss" if http.scheme == "https" else "ws"
        self.conn.parser = Protocol.parse(self.conn)
        next(self.conn.parser)
        self.handshake_initiated = True
        digest = hashlib.sha1(key + GUID, usedforsecurity=False).digest()
        self._answer = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + b64encode(digest) + b"\r\n"
        )
        path, _, query = http.url.partition(b"?")
        offered = dict(http.headers).get(b"sec-websocket-protocol")
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + unquote(path.decode("ascii")),
            "raw_path": self.root_path.encode("ascii") + path,
            "query_string": query,
            "headers": http.headers,
            "subprotocols": [each.strip() for each in offered.decode("latin-1").split(",")]
            if offered
            else [],
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    async def send(self, message: Any) -> None:
        if (
            message["type"] == "websocket.accept"
            and not self.handshake_complete
            and not self.initial_response
        ):
            self._accept(message)
        else:
            await super().send(message)

    def _accept(self, message: Any) -> None:
        if self.disconnected:
            raise ClientDisconnected
        if self.transport.is_closing():
            return
        headers = [*self.default_headers, *message.get("headers", ())]
        if message.get("subprotocol"):
            headers.append((b"Sec-WebSocket-Protocol", message["subprotocol"].encode("latin-1")))
        self.handshake_complete = True
        self.conn.state = OPEN
        self.transport.write(
            self._answer + b"".join([b"%b: %b\r\n" % (name, value) for name, value in headers]) + b"\r\n"
        )
        self.start_keepalive()


def too_large(http: HttpToolsProtocol) -> bool:
    """Whether the head that was just read is longer than that of any upgrade may be."""
    lines = [len(http.url), *(len(name) + len(value) for name, value in http.headers)]
    return len(lines) > MOST_HEADERS or max(lines) > LONGEST_LINE


def upgrade(http: HttpToolsProtocol) -> bool:
    """Make a WebSocket of the connection whose head was just read; False, and nothing done, when it is unusual."""
    key = _key(http.headers)
    if (
        key is None
        or http.config.ws_protocol_class is not WebSocketsSansIOProtocol
        or http.config.ws_per_message_deflate
        or http.scope["method"] != "GET"
        or http.scope["http_version"] != "1.1"
        or not http.url.startswith(b"/")
        or not http.url.isascii()
    ):
        return False
    http.connections.discard(http)
    protocol = Upgraded(http.config, http.server_state, http.app_state)
    protocol.take_over(http, key)
    http.transport.set_protocol(protocol)
    return True


def _key(headers: Headers) -> bytes | None:
    """The key to answer, if these ask for a WebSocket as RFC 6455, 4.2.1 has it, and each header comes once."""
    named = dict(headers)
    key = named.get(b"sec-websocket-key", b"")
    if (
        len(named) != len(headers)
        or named.get(b"upgrade", b"").lower() != b"websocket"
        or b"upgrade" not in [each.strip() for each in named.get(b"connection", b"").lower().split(b",")]
        or named.get(b"sec-websocket-version") != VERSION
        or len(key) != KEY_LENGTH
    ):
        return None
    try:
        return key if len(binascii.a2b_base64(key, strict_mode=True)) == KEY_BYTES else None
    except binascii.Error:
        return None
