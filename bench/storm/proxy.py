"""A TCP proxy before PostgreSQL that can lose the answer to a COMMIT.

It reads the frontend's messages, so that a connection is cut exactly there and not
somewhere about: after COMMIT has been sent, before its answer has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

# https://www.postgresql.org/docs/current/protocol-message-formats.html
_ENCRYPTION_REQUESTS = {80877103, 80877104}  # SSLRequest, GSSENCRequest: a startup message follows
_QUERY, _PARSE, _BIND, _EXECUTE = b"Q", b"P", b"B", b"E"
_READY = b"Z"
CHUNK = 1 << 16


class Cut(StrEnum):
    """Where a COMMIT is when its connection is cut."""

    ANSWERED = "ANSWERED"  # the server has committed and said so, to nobody
    SENT = "SENT"  # the server has it, or will
    UNSENT = "UNSENT"  # the server never gets it, and rolls back


class Proxy:
    """Between clients on a port of loopback and PostgreSQL's unix socket.

    While `share` is above zero, so large a share of the COMMITs loses its connection;
    `cuts` counts where.
    """

    def __init__(self, socket_path: str, *, seed: int = 1) -> None:
        self._socket_path = socket_path
        self._random = random.Random(seed)  # noqa: S311 - which commits are hit, the same each time
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.share = 0.0
        self.cuts: Counter[Cut] = Counter()
        self.commits = 0

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the proxy is not started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            server, to_server = await asyncio.open_unix_connection(self._socket_path)
        except OSError:
            to_client.transport.abort()
            return
        link = _Link(self, client, to_client, server, to_server)
        with contextlib.suppress(asyncio.CancelledError):
            await link.run()

    def cut_now(self) -> Cut | None:
        """What becomes of this COMMIT."""
        self.commits += 1
        if self._random.random() >= self.share:
            return None
        cut = self._random.choice(list(Cut))
        self.cuts[cut] += 1
        return cut


class _Link:
    """One client's connection."""

    def __init__(
        self,
        proxy: Proxy,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client, self._to_client = client, to_client
        self._server, self._to_server = server, to_server
        self._committing: set[bytes] = set()  # prepared statements, and portals, that are COMMIT
        self._deaf = False  # the client is gone; the server's answers go nowhere

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._down())
                tasks.create_task(self._up())
        except* (OSError, asyncio.IncompleteReadError, _Ended):
            pass
        finally:
            self._to_client.transport.abort()
            self._to_server.transport.abort()

    async def _up(self) -> None:
        await self._begin()
        unread = b""
        while part := await self._client.read(CHUNK):
            unread += part
            passed = 0
            for kind, start, end in _messages(unread):
                passed = end
                if self._is_commit(kind, unread[start:end]) and (cut := self._proxy.cut_now()):
                    await self._lose(cut, unread[:start], unread)
            self._to_server.write(unread[:passed])
            unread = unread[passed:]
            await self._to_server.drain()
        raise _Ended

    async def _lose(self, cut: Cut, before: bytes, everything: bytes) -> None:
        self._deaf = True
        self._to_server.write(before if cut is Cut.UNSENT else everything)
        await self._to_server.drain()
        if cut is Cut.ANSWERED:
            await asyncio.sleep(0.05)  # a commit takes a few milliseconds, its disk included
        raise _Ended

    async def _begin(self) -> None:
        """The startup message has no kind before its length."""
        while True:
            head = await self._client.readexactly(8)
            length, code = struct.unpack("!ii", head)
            self._to_server.write(head + await self._client.readexactly(length - 8))
            if code not in _ENCRYPTION_REQUESTS:
                return

    def _is_commit(self, kind: bytes, message: bytes) -> bool:
        body = message[5:]
        if kind == _QUERY:
            return _says_commit(body.rstrip(b"\0"))
        if kind == _PARSE:
            name, text = body.split(b"\0", 2)[:2]
            if _says_commit(text):
                self._committing.add(b"statement " + name)
            else:
                self._committing.discard(b"statement " + name)
        elif kind == _BIND:
            portal, name = body.split(b"\0", 2)[:2]
            if b"statement " + name in self._committing:
                self._committing.add(b"portal " + portal)
            else:
                self._committing.discard(b"portal " + portal)
        elif kind == _EXECUTE:
            return b"portal " + body.split(b"\0", 1)[0] in self._committing
        return False

    async def _down(self) -> None:
        while part := await self._server.read(CHUNK):
            if not self._deaf:
                self._to_client.write(part)
                await self._to_client.drain()
        raise _Ended


class _Ended(Exception):
    """One side is gone, so the other goes too."""


def _messages(unread: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Whole messages: their kind, where they begin and end."""
    start = 0
    while start + 5 <= len(unread):
        end = start + 1 + int.from_bytes(unread[start + 1 : start + 5], "big")
        if end > len(unread):
            return
        yield unread[start : start + 1], start, end
        start = end


def _says_commit(text: bytes) -> bool:
    return text.strip().rstrip(b";").strip().lower() in (b"commit", b"commit transaction", b"end")
