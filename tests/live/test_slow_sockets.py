"""Operations of one socket whose client is behind: each goes on when it reads again."""

from __future__ import annotations

import asyncio
from typing import Any

from app.live.frames import DirectFrames

LIMIT = 65_536
PAYLOADS = [(number, b"x" * 2_000, None) for number in range(40)]


class _Connection:
    """uvicorn's protocol and its transport, as a client that reads when it is told to."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.close_sent = self.disconnected = False
        self.transport = self
        self.buffered = LIMIT
        self.sent = 0

    def write(self, data: bytes) -> None:
        self.buffered += len(data)
        self.sent += 1
        if self.buffered > LIMIT:
            self.writable.clear()  # as the event loop does within the write

    def is_closing(self) -> bool:
        return False

    def read(self) -> None:
        self.buffered = 0
        self.writable.set()


def _frames(connection: Any) -> DirectFrames:
    return DirectFrames(connection)


async def test_all_who_wait_for_a_slow_client_are_served_in_the_end() -> None:
    connection = _Connection()
    frames = _frames(connection)
    waiting = [asyncio.create_task(frames.written(b"%d" % number, PAYLOADS)) for number in range(3)]
    for _ in range(3):
        await asyncio.sleep(0.01)
        connection.read()
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert connection.sent == 3


async def test_those_who_wait_for_a_client_that_leaves_are_told() -> None:
    connection = _Connection()
    frames = _frames(connection)
    waiting = [asyncio.create_task(frames.written(b"%d" % number, PAYLOADS)) for number in range(2)]
    await asyncio.sleep(0.01)
    connection.disconnected = True
    connection.writable.set()
    assert await asyncio.gather(*waiting) == [False, False]
    assert connection.sent == 0
