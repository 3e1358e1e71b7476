"""A pool of asyncpg connections that are given back without a round trip.

Whoever takes a connection ends the transaction it began, so there is nothing to reset.
A connection that is not known to be in step with its server is discarded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[Any]"


class NoConnection(Exception):
    """None became free in time."""


class Pool:
    """At most `size` connections; the most recently used is used next, so that few stay warm."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], *, size: int, acquire_timeout_seconds: float
    ) -> None:
        self._connect = connect
        self.size = size
        self._acquire_timeout = acquire_timeout_seconds
        self._idle: list[Connection] = []
        self._count = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> Connection:
        """Raises NoConnection, or what the driver raises when it cannot connect."""
        if not self._idle and self._count >= self.size:
            await self._wait()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._count -= 1
        self._count += 1
        try:
            return await self._connect()
        except BaseException:
            self._count -= 1
            self._wake()
            raise

    def give_back(self, connection: Connection, *, healthy: bool) -> None:
        """`healthy`: its last transaction has ended, and nothing is still being sent on it."""
        if healthy and not connection.is_closed() and not connection.is_in_transaction():
            self._idle.append(connection)
        else:
            connection.terminate()
            self._count -= 1
        self._wake()

    async def close(self) -> None:
        """Close what is idle; the pool may be used on."""
        idle, self._idle = self._idle, []
        self._count -= len(idle)
        for connection in idle:
            await connection.close(timeout=2)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._acquire_timeout):
                while not self._idle and self._count >= self.size:
                    await turn
                    if not self._idle and self._count >= self.size:
                        turn = asyncio.get_running_loop().create_future()
                        self._waiting.appendleft(turn)
        except TimeoutError:
            raise NoConnection("no database connection became free in time") from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()  # the turn was ours; somebody else may have it
            raise

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
