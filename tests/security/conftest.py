"""A shop to attack: the small demo, served by a process of its own or by a thread without workers."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from app import auth
from app.demo import load as load_demo
from db.engine import asyncpg_dsn
from domain.access import Principal
from schema.plan.planner import Planner
from tests.conftest import Postgres, administer, outside_any_loop
from tests.live.clients import SECRET as PROCESS_SECRET
from tests.live.test_faults import Served
from tests.plan.test_whole_schema import make_planner
from tests.serving import SECRET, served


@dataclass
class Shop:
    """A database, what is in it by which values can be made, and one caller of each kind."""

    url: str
    planner: Planner
    ids: dict[str, list[str]] = field(default_factory=dict)
    """Global ids by prefix."""
    words: dict[str, list[str]] = field(default_factory=dict)
    """Texts that mean something here, by the name of the field that takes them."""
    callers: dict[str, Principal] = field(default_factory=dict)

    async def look(self) -> None:
        connection = await asyncpg.connect(asyncpg_dsn(self.url))
        try:
            for prefix, name in self.planner.catalog.nodes.items():
                table = self.planner.catalog.types[name][1].table_name
                rows = await connection.fetch(f'select id from "{table}" order by id desc limit 30')
                self.ids[prefix] = [f"{prefix}_{row['id']}" for row in rows]
            order = await connection.fetchrow(
                "select id, customer_id, channel_id from orders where customer_id is not null limit 1"
            )
            assert order is not None
            location = await connection.fetchval("select id from location limit 1")
            skus = [row["sku"] for row in await connection.fetch("select sku from product order by sku")]
        finally:
            await connection.close()
        self.words = {"sku": skus, "skus": skus}
        self.callers = {
            "staff": auth.staff(),
            "partner": auth.partner("p", channels=(order["channel_id"],)),
            "warehouse": auth.partner("w", locations=(location,)),
            "customer": auth.customer(order["customer_id"]),
            "guest": auth.guest(order["id"]),
        }


@pytest.fixture(scope="session")
def shop(postgres: Postgres, template: str) -> Iterator[Shop]:
    name = f"oms_shop_{uuid.uuid4().hex}"
    outside_any_loop(administer(postgres, f"create database {name} template {template} strategy file_copy"))
    outside_any_loop(load_demo(postgres.url(name), "small", lambda what, done, total: None))
    attacked = Shop(postgres.url(name), make_planner())
    outside_any_loop(attacked.look())
    yield attacked
    outside_any_loop(administer(postgres, f"drop database {name} with (force)"))


@dataclass(frozen=True)
class Target:
    """Where the shop is served, and what its tokens are signed with."""

    base: str
    secret: str

    def headers(self, caller: Principal | None) -> dict[str, str]:
        if caller is None:
            return {}
        return {"authorization": f"Bearer {auth.development_token(self.secret, caller)}"}


@pytest.fixture(scope="module")
def process(shop: Shop) -> Iterator[Target]:
    """One `oms serve`, with its workers; what it logged must name no bug."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        server = Served(
            {
                "OMS_DATABASE_URL": shop.url,
                "OMS_DEVELOPMENT_SECRET": PROCESS_SECRET,
                "OMS_LOG_FORMAT": "json",
                "OMS_POOL_SIZE": "4",
            },
            log,
        )
        outside_any_loop(server.start())
        try:
            yield Target(f"http://{server.address}", PROCESS_SECRET)
        finally:
            outside_any_loop(server.end(signal.SIGTERM))
        lines = [orjson.loads(line) for line in log.read_bytes().splitlines() if b"graphql.failed" in line]
        assert not lines, {
            line["field"]: [(raised["exc_type"], raised["exc_value"]) for raised in line["exception"]]
            for line in lines
        }


@pytest.fixture(scope="session")
def quiet(shop: Shop) -> Iterator[Target]:
    """The same without workers, so that nothing changes but by what is asked."""
    started: dict[str, Any] = {}
    ready = threading.Event()

    async def serve() -> None:
        started["loop"], started["over"] = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with served(shop.url, workers=False) as api:
                started["base"] = api.base
                ready.set()
                await started["over"].wait()
        finally:
            ready.set()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(30)
    try:
        yield Target(started["base"], SECRET)
    finally:
        started["loop"].call_soon_threadsafe(started["over"].set)
        thread.join(30)
