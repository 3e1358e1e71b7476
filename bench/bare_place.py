"""The floor for placing: bare asyncpg sends the statements that placing an order sends, and nothing else.

They are recorded from orders that are really placed. Ids, keys and numbers are made anew
before a round, so that what is measured is the driver and PostgreSQL: no HTTP, no rule,
no payload, and no relay.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import uvloop

from bench import places
from bench.places import PARTNERS
from bench.report import Report
from db.base import new_id
from db.engine import asyncpg_dsn, create_write_engine
from domain.ids import Prefix, parse_id
from domain.order_commands import PlaceLine, PlaceOrder
from services.placement import place_order
from services.unit_of_work import Key, UnitOfWork

RECORDED = 200
CONNECTIONS = 10
"""As many as our server's pool has."""

MOST_PER_SECOND = 4_000
_FIXED = "01900000-"
"""How the ids of `bench.data` begin."""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"\d{7,}")

Sent = tuple[str, tuple[Any, ...]]


@dataclass(slots=True)
class Bare:
    dsn: str
    orders: list[list[Sent]]
    per_second: list[float] = field(default_factory=list)

    @classmethod
    async def recorded(cls, url: str, report: Report) -> Bare:
        """Place a few orders in this process and keep what was sent for each."""
        sent: list[Sent] = []
        engine = create_write_engine(url, pool_size=1)
        engine.on_statement(lambda logged: sent.append((logged.query, tuple(logged.args or ()))))
        work = UnitOfWork(engine)
        chance = random.Random("bare")  # noqa: S311 - which orders are placed is no secret
        orders = []
        try:
            for _ in range(RECORDED):
                number = chance.randrange(PARTNERS)
                await asyncio.sleep(0)  # the driver tells of a statement a turn of the loop later
                sent.clear()
                await work.run(
                    place_order,
                    command(chance, number),
                    actor=places.partner(number),
                    key=Key.of(f"bare-{uuid4()}", "place"),
                )
                await asyncio.sleep(0)
                orders.append(list(sent))
        finally:
            await engine.dispose()
        last = orders[-1]
        report.figures["round_trips_per_order"] = len(last) + 1  # and one for the payload
        report.figures["statements_per_order"] = sum(bool(values) for _, values in last) + 1
        return cls(asyncpg_dsn(url), orders[RECORDED // 2 :])

    def round(self, seconds: float) -> float:
        """Orders a second, in an event loop of its own."""
        return uvloop.run(self._round(seconds))

    async def _round(self, seconds: float) -> float:
        waiting = [
            _renewed(self.orders[number % len(self.orders)])
            for number in range(int(seconds * MOST_PER_SECOND))
        ]
        connections = [
            await asyncpg.connect(self.dsn, server_settings={"jit": "off", "TimeZone": "UTC"})
            for _ in range(CONNECTIONS)
        ]
        done = 0
        try:
            for connection in connections:
                await connection.set_type_codec(
                    "jsonb", schema="pg_catalog", encoder=_jsonb, decoder=bytes, format="binary"
                )
                await _send(connection, waiting.pop())
            started = time.perf_counter()

            async def work(connection: asyncpg.Connection[Any]) -> None:
                nonlocal done
                while time.perf_counter() - started < seconds:
                    await _send(connection, waiting.pop())
                    done += 1

            await asyncio.gather(*(work(connection) for connection in connections))
            return done / (time.perf_counter() - started)
        finally:
            for connection in connections:
                await connection.close()


def command(chance: random.Random, number: int) -> PlaceOrder:
    """What our server makes of the same order's input."""
    asked = places.order_input(chance, number)
    return PlaceOrder(
        channel_id=parse_id(asked["channelId"], Prefix.CHANNEL),
        currency=asked["currencyCode"],
        customer_id=parse_id(asked["customerId"], Prefix.CUSTOMER),
        lines=tuple(
            PlaceLine(
                sku=line["sku"], quantity=line["quantity"], unit_price=round(float(line["unitPrice"]) * 100)
            )
            for line in asked["lines"]
        ),
    )


async def _send(connection: asyncpg.Connection[Any], statements: list[Sent]) -> None:
    for text, values in statements:
        if values:
            await connection.fetch(text, *values)
        else:
            await connection.execute(text)


def _jsonb(text: str) -> bytes:
    return b"\x01" + text.encode()


def _renewed(statements: list[Sent]) -> list[Sent]:
    """The same order as another: with ids, a key and a number of its own."""
    made: dict[Any, Any] = {}

    def new(value: Any) -> Any:
        if isinstance(value, list):
            return [new(each) for each in value]
        # Levels have random ids, so that these are of the order alone.
        if isinstance(value, UUID) and value.version == 7 and not str(value).startswith(_FIXED):
            return made.setdefault(value, new_id())
        if isinstance(value, str) and value.startswith("[{"):
            return _ID.sub(lambda found: str(new(UUID(found[0]))), value)
        if type(value) is str and (value.startswith("bare-") or _NUMBER.fullmatch(value)):
            return made.setdefault(value, f"bare-{uuid4()}")
        return value

    return [(text, tuple(new(value) for value in values)) for text, values in statements]
