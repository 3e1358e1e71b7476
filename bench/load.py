"""The client: keep-alive connections that each send the next request when the answer is there.

It runs as a process of its own, on plain sockets and epoll, with requests that were
made before: it takes about 15 µs of a core for a request, so that the server and not
the client is what is measured. `python -m bench.load` reads its orders from standard
input and prints its findings as JSON.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

RECEIVE = 1 << 20

Request = tuple[str, str | None]
"""A body, and the Authorization header that goes with it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one round came to: requests a second, and latencies in milliseconds."""

    per_second: float
    p50: float
    p99: float
    client_cores: float  # how much of a core the client itself took
    answers: int


async def measure(
    port: int,
    requests: Sequence[Request],
    *,
    seconds: float,
    connections: int = 16,
    once: bool = False,
    refused: Sequence[str] = ('"errors":',),
) -> Measured:
    """One round against a server on loopback.

    `once`: no request is sent twice. Raises RuntimeError when there are too few for that, and for
    an answer that holds one of `refused`.
    """
    orders = {
        "port": port,
        "requests": list(requests),
        "seconds": seconds,
        "connections": connections,
        "once": once,
        "refused": list(refused),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    printed, _ = await asyncio.wait_for(process.communicate(orjson.dumps(orders)), seconds + 60)
    if process.returncode:
        raise RuntimeError(f"the client failed on port {port}")
    return Measured(**orjson.loads(printed))


def request(body: str, authorization: str | None) -> bytes:
    head = (
        "POST /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        "accept: application/json\r\n"
    )
    if authorization:
        head += f"authorization: {authorization}\r\n"
    return f"{head}content-length: {len(body.encode())}\r\n\r\n{body}".encode()


class Connection:
    """One connection and the answer it waits for."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._parts: list[bytes] = []
        self._missing = -1

    def send(self, message: bytes) -> None:
        self._parts, self._missing = [], -1
        self.sent_at = time.perf_counter()
        self.socket.sendall(message)

    def answer(self) -> bytes | None:
        """The whole answer once it is there."""
        part = self.socket.recv(RECEIVE)
        if not part:
            raise RuntimeError("the server closed a connection")
        self._parts.append(part)
        if self._missing < 0:
            joined = b"".join(self._parts)
            head, found, body = joined.partition(b"\r\n\r\n")
            if not found:
                self._parts = [joined]
                return None
            self._missing = _length(head) - len(body)
        else:
            self._missing -= len(part)
        return b"".join(self._parts) if self._missing <= 0 else None


def _length(head: bytes) -> int:
    if b" 200 " not in head[:20]:
        raise RuntimeError(head.decode("latin-1"))
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    end = lower.find(b"\r\n", start)
    return int(lower[start : end if end >= 0 else None])


def run(orders: Mapping[str, Any]) -> dict[str, float | int]:
    messages = [request(*each) for each in orders["requests"]]
    random.Random(7).shuffle(messages)  # noqa: S311 - which order is asked for is no secret
    refused = [sign.encode() for sign in orders["refused"]]
    connections = {}
    poll = select.epoll()
    for _ in range(orders["connections"]):
        connection = Connection(orders["port"])
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
    latencies: list[float] = []
    following, count = 0, len(messages)
    cpu = time.process_time()
    started = time.perf_counter()
    end = started + orders["seconds"]
    for connection in connections.values():
        connection.send(messages[following % count])
        following += 1
    waiting = len(connections)
    while waiting:
        for descriptor, _ in poll.poll(30):
            connection = connections[descriptor]
            answer = connection.answer()
            if answer is None:
                continue
            now = time.perf_counter()
            latencies.append(now - connection.sent_at)
            if any(sign in answer for sign in refused):
                raise RuntimeError(answer.decode())
            if now < end:
                if orders["once"] and following == count:
                    raise RuntimeError(f"{count} requests were too few")
                connection.send(messages[following % count])
                following += 1
            else:
                waiting -= 1
    took = time.perf_counter() - started
    latencies.sort()
    return {
        "per_second": len(latencies) / took,
        "p50": latencies[len(latencies) // 2] * 1000,
        "p99": latencies[int(len(latencies) * 0.99)] * 1000,
        "client_cores": (time.process_time() - cpu) / took,
        "answers": len(latencies),
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(run(orjson.loads(sys.stdin.buffer.read()))))
