from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from app.live.relay import Relay
from app.providers.protocol import PaymentProvider
from app.providers.reported import ExternalProvider, ManualProvider
from app.providers.sandbox import SandboxProvider
from app.settings import Settings
from app.workers import Workers
from app.workers.queue import install_at
from db.engine import asyncpg_dsn, create_write_engine
from services.unit_of_work import UnitOfWork
from tests.invariants import assert_invariants
from tests.payments.shop import Shop, open_shop


class Waits(Protocol):
    """Repeats an assertion until it holds."""

    async def __call__(self, check: Callable[[], Awaitable[Any]], seconds: float = ..., /) -> Any: ...


@pytest.fixture
async def queued(engine: AsyncEngine, database_url: str) -> AsyncEngine:
    """The engine of a database that has the queue's tables."""
    await install_at(database_url)
    return engine


@pytest.fixture
async def shop(queued: AsyncEngine) -> AsyncIterator[Shop]:
    """A shop whose books are held to every invariant after the test."""
    yield await open_shop(queued)
    await assert_invariants(queued)


@pytest.fixture
async def sandbox(database_url: str) -> AsyncIterator[SandboxProvider]:
    provider = SandboxProvider(asyncpg_dsn(database_url))
    yield provider
    await provider.close()


class Background:
    """The relay and the workers of one process, which can be stopped or cut off, and started again."""

    def __init__(self, url: str, providers: dict[str, PaymentProvider]) -> None:
        self._url = url
        self.providers = providers
        self.engine = create_write_engine(url)
        self.workers = self._workers()
        self._relay: asyncio.Task[None] | None = None

    def _workers(self) -> Workers:
        settings = Settings(database_url=SecretStr(self._url))
        work = UnitOfWork(self.engine)
        return Workers(settings, self.engine, work, self.providers, provider_timeout_seconds=0.5)

    async def start(self) -> None:
        self.workers = self._workers()
        relay = Relay(self._url, self.workers.moved)
        self._relay = asyncio.create_task(relay.run())
        await self.workers.start()

    async def stop(self) -> None:
        await self.workers.stop()
        if self._relay is not None:
            self._relay.cancel()
            await asyncio.gather(self._relay, return_exceptions=True)

    async def close(self) -> None:
        await self.stop()
        await self.engine.dispose()


@pytest.fixture
async def background(database_url: str, shop: Shop, sandbox: SandboxProvider) -> AsyncIterator[Background]:
    """Relay and workers, running, with a provider timeout of half a second."""
    running = Background(
        database_url, {"sandbox": sandbox, "manual": ManualProvider(), "external": ExternalProvider()}
    )
    await running.start()
    yield running
    await running.close()


@pytest.fixture
def eventually() -> Waits:
    """Repeat an assertion until it holds, at most fifteen seconds."""

    async def wait(check: Callable[[], Awaitable[Any]], seconds: float = 15, /) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await check()
                except AssertionError as error:
                    last = error
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    raise last from None

    return wait
