"""Thousands of WebSocket subscribers in one process: for where the swarm in C is not.

Takes the same arguments, commands and answers as that: `PORT PATH COUNT gql|bare 0 0 TEMPLATE CHANNELS`; on
standard input RESET, REPORT and QUIT. The token is in SWARM_TOKEN.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import cast

import orjson
import uvloop

OPENING = 128
"""Handshakes under way at a time."""

BUCKETS_MS = 100
"""Buckets of a millisecond."""

_STAMP = b'"ts":"'


class Swarm:
    """What the subscribers have in common: whom they ask for what, and what came."""

    def __init__(self, port: int, path: str, count: int, template: str | None, channels: int) -> None:
        self.port = port
        self.count = count
        self.template = template
        self.channels = channels
        protocol = "Sec-WebSocket-Protocol: graphql-transport-ws\r\n" if template else ""
        self.upgrade = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
        ).encode()
        token = os.environ.get("SWARM_TOKEN", "x")
        self.init = orjson.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        self.subscribers = [Subscriber(self, number) for number in range(count)]
        self.opened = 0
        self.ready = 0
        self.reset()

    def reset(self) -> None:
        self.delays: dict[int, int] = {}
        self.messages = self.errors = self.first = self.last = 0
        for subscriber in self.subscribers:
            subscriber.messages = 0

    def open_next(self) -> None:
        if self.opened < self.count:
            subscriber = self.subscribers[self.opened]
            self.opened += 1
            asyncio.get_running_loop().create_task(_connect(subscriber, self.port))

    def subscribed(self) -> None:
        self.ready += 1
        if self.ready == self.count:
            _answer(b"READY")

    def report(self) -> bytes:
        delays = sorted(self.delays.items())
        each = [subscriber.messages for subscriber in self.subscribers]
        return orjson.dumps(
            {
                "msgs": self.messages,
                "errs": self.errors,
                "ready": self.ready,
                "min_per": min(each),
                "max_per": max(each),
                "span_s": (self.last - self.first) / 1e9,
                "p50_ms": self._at(delays, 0.5),
                "p99_ms": self._at(delays, 0.99),
                "max_ms": delays[-1][0] / BUCKETS_MS if delays else 0,
            }
        )

    def _at(self, delays: list[tuple[int, int]], share: float) -> float:
        left = self.messages * share
        for bucket, count in delays:
            left -= count
            if left < 0:
                return bucket / BUCKETS_MS
        return -1


def _answer(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


async def _connect(subscriber: Subscriber, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: subscriber, "127.0.0.1", port)


class Subscriber(asyncio.Protocol):
    """One socket, from its upgrade on."""

    __slots__ = ("_acknowledged", "_rest", "_swarm", "_transport", "_upgraded", "messages", "number")

    def __init__(self, swarm: Swarm, number: int) -> None:
        self._swarm = swarm
        self.number = number
        self.messages = 0
        self._rest = b""
        self._upgraded = self._acknowledged = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._swarm.upgrade)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self._upgraded:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = data
                return
            if b" 101 " not in head[:16]:
                sys.exit(f"the upgrade was refused: {head[:200]!r}")
            data, self._upgraded = rest, True
            self._swarm.open_next()
            if self._swarm.template is None:
                self._acknowledged = True
                self._swarm.subscribed()
            else:
                self._say(1, self._swarm.init)
        self._rest = data[self._frames(data) :]

    def _frames(self, data: bytes) -> int:
        """Take every whole frame; returns where the rest begins."""
        place, size = 0, len(data)
        while size - place >= 2:
            begin, length = place + 2, data[place + 1] & 127
            if length == 126:
                begin, length = place + 4, int.from_bytes(data[place + 2 : place + 4])
            elif length == 127:
                begin, length = place + 10, int.from_bytes(data[place + 2 : place + 10])
            if begin + length > size:
                break
            kind = data[place] & 15
            if kind == 1:
                self._heard(data, begin, begin + length)
            elif kind == 9:
                self._say(10, data[begin : begin + length])
            place = begin + length
        return place

    def _heard(self, data: bytes, begin: int, end: int) -> None:
        swarm = self._swarm
        if not self._acknowledged:
            self._acknowledged = True
            self._say(1, ((swarm.template or "") % self._followed()).encode())
            swarm.subscribed()
            return
        stamp = data.find(_STAMP, begin, end)
        if stamp < 0:
            swarm.errors += data.find(b'"error', begin, end) >= 0 or data.find(b'"complete"', begin, end) >= 0
            return
        sent = int(data[stamp + len(_STAMP) : data.index(b'"', stamp + len(_STAMP))])
        now = time.monotonic_ns()
        bucket = (now - sent) * BUCKETS_MS // 1_000_000
        swarm.delays[bucket] = swarm.delays.get(bucket, 0) + 1
        swarm.messages += 1
        self.messages += 1
        swarm.first, swarm.last = swarm.first or now, now

    def _followed(self) -> tuple[int, ...]:
        """What stands in the template's place, if it has one."""
        has_place = "%" in (self._swarm.template or "").replace("%%", "")
        return (self.number % self._swarm.channels,) if has_place else ()

    def _say(self, kind: int, payload: bytes) -> None:
        """A frame masked with zeros: a client's must be masked."""
        length = len(payload)
        header = bytes((0x80 | kind, 0x80 | length)) if length < 126 else bytes((0x80 | kind, 0xFE))
        size = b"" if length < 126 else length.to_bytes(2)
        self._transport.write(header + size + bytes(4) + payload)


async def _run(swarm: Swarm) -> None:
    loop = asyncio.get_running_loop()
    said = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), sys.stdin)
    for _ in range(OPENING):
        swarm.open_next()
    while line := (await said.readline()).strip():
        if line == b"QUIT":
            return
        if line == b"RESET":
            swarm.reset()
        _answer(b"OK" if line == b"RESET" else swarm.report())


def main() -> None:
    port, path, count, mode, _, _, file, channels = sys.argv[1:]
    template = Path(file).read_text() if mode == "gql" else None
    uvloop.run(_run(Swarm(int(port), path, int(count), template, int(channels))))


if __name__ == "__main__":
    main()
