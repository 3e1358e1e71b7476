"""`oms worker`: a process that does the background work and nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

import asyncpg

from app import providers as installed
from app.live.relay import Relay
from app.live.wake import WakeUps
from app.settings import Settings
from app.workers.workers import Workers
from db.engine import create_write_engine
from services.unit_of_work import UnitOfWork


async def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT. It relays events too: there may be no server to do it."""
    if settings.database_url is None:
        raise ValueError("a worker needs OMS_DATABASE_URL")
    url = settings.database_url.get_secret_value()
    broadcast = settings.broadcast_url.get_secret_value() if settings.broadcast_url else url
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    engine = create_write_engine(url, pool_size=settings.pool_size)
    providers = installed.load(settings)

    def moved(rows: Sequence[asyncpg.Record]) -> None:
        workers.moved(rows)
        wake_ups.announce()

    relay = Relay(url, moved)
    workers = Workers(settings, engine, UnitOfWork(engine, on_commit=relay.poke), providers)
    wake_ups = WakeUps(broadcast, workers.poke)
    background = [asyncio.create_task(relay.run()), asyncio.create_task(wake_ups.run())]
    try:
        await workers.start()
        await stopping.wait()
        await workers.stop(settings.shutdown_timeout_seconds)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await installed.close(providers.values())
        await engine.dispose()
