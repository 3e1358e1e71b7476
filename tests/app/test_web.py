"""Answers leave in as few writes as they can, whole and in order."""

from __future__ import annotations

import asyncio

import pytest

from app.web import JoinedWrites


class Transport(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended: str | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return self.ended is not None


@pytest.fixture
def transport() -> Transport:
    return Transport()


async def test_a_head_waits_for_its_body(transport: Transport) -> None:
    joined = JoinedWrites(transport, asyncio.get_running_loop())
    joined.write(b"head ")
    assert transport.written == []
    joined.write(b"body")
    assert transport.written == [b"head body"]


async def test_a_head_without_a_body_leaves_with_the_next_turn_of_the_loop(transport: Transport) -> None:
    joined = JoinedWrites(transport, asyncio.get_running_loop())
    joined.write(b"head ")
    await asyncio.sleep(0)
    joined.write(b"later")
    await asyncio.sleep(0)
    assert transport.written == [b"head ", b"later"]


async def test_closing_sends_what_was_held_and_aborting_does_not(transport: Transport) -> None:
    joined = JoinedWrites(transport, asyncio.get_running_loop())
    joined.write(b"all")
    joined.close()
    assert (transport.written, transport.ended) == ([b"all"], "closed")
    other = Transport()
    joined = JoinedWrites(other, asyncio.get_running_loop())
    joined.write(b"nothing")
    joined.abort()
    await asyncio.sleep(0)
    assert (other.written, other.ended) == ([], "aborted")
