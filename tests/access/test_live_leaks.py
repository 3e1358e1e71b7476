"""Every subscription, followed by everybody who may not see: by each id that names an entity, and by none.

What may not be seen is never told of, live, on going on, or when a cursor has expired; and following it is as
following what never was.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest
import sqlalchemy as sa
from graphql import GraphQLField, GraphQLInputObjectType, GraphQLObjectType, get_named_type, is_leaf_type
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.auth import customer, guest
from db import cursors
from db.events import EventLog, Outbox, Relay
from db.models import Base
from domain.access import Principal
from domain.order_commands import HoldOrder
from domain.orders import HoldReason
from domain.return_commands import ApproveReturn
from domain.shipments import CarrierEventKind
from domain.stock_commands import AdjustStock, StockPlace
from resolvers.root import make_schema
from schema.plan.catalog import Catalog, catalog_of
from schema.plan.reading import ReadOne
from services.holds import hold_order
from services.returns import approve_return
from services.stock_intake import adjust_stock
from tests.fulfillment.steps import accepted, ship, warehouse
from tests.returns.steps import requested
from tests.serving import Api, served
from tests.shipments.test_deliveries import report, scan
from tests.world import World, make_world

UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PREFIXES = {
    "orderId": "ord", "shipmentId": "shp", "returnId": "ret", "channels": "chn", "customers": "cus",
    "locations": "loc",
}  # fmt: skip
NAMES_NOTHING = {"after", "mode", "types", "statuses"}
LAST = "SHIPMENT_SHIPPED"
"""The last thing that happens to every order here, and that everybody may be told of."""

SAME_CHANNEL = "the same channel's other location"

Case = tuple[str, str]
"""A subscription, and the argument that something is named by; empty for none."""


@dataclass
class Shop:
    """One side's order, that has been sent in part and is being returned in part."""

    world: World
    sku: str
    location: str
    order_id: UUID
    fulfillment_order_id: UUID
    ids: dict[str, UUID]

    @classmethod
    async def open(cls, world: World) -> Shop:
        sku, location = next(iter(world.products)), next(iter(world.locations))
        order_id = await world.place((sku, 3))
        sent_from = await accepted(world, order_id, location)
        shipment_id = await ship(world, sent_from, 2, location=location, tracking=f"{sku}-1")
        assert shipment_id is not None
        return_id = await requested(world, order_id, 1)
        named = {"ord": order_id, "shp": shipment_id, "ret": return_id, "chn": world.channel_id}
        ids = {**named, "cus": world.customer_id, "loc": world.locations[location]}
        return cls(world, sku, location, order_id, sent_from, ids)

    async def live(self) -> None:
        """Something of everything happens."""
        world = self.world
        await world.run(approve_return, ApproveReturn(return_id=self.ids["ret"]))
        await report(world, scan(f"{self.sku}-1", CarrierEventKind.DELIVERED, 1, tracking=f"{self.sku}-1"))
        await world.run(hold_order, HoldOrder(order_id=self.order_id, reason=HoldReason.ADDRESS))
        place = StockPlace(sku=self.sku, location_code=self.location)
        await world.run(adjust_stock, AdjustStock(place=place, delta=1, reason="found"))
        await ship(world, self.fulfillment_order_id, 1, location=self.location, tracking=f"{self.sku}-2")

    async def hidden_ids(self) -> set[str]:
        """Of everything that hangs on the order, and of whose and where it is."""
        found = set(self.ids.values())
        for table in Base.metadata.tables.values():
            if {"id", "order_id"} <= set(table.c.keys()) and table.name != "outbox":
                rows = await self.world.all(sa.select(table.c.id).where(table.c.order_id == self.order_id))
                found |= {row.id for row in rows}
        return {str(id) for id in found}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return catalog_of(make_schema())


@pytest.fixture
async def shops(engine: AsyncEngine) -> tuple[Shop, Shop]:
    """What is hidden, and what those who follow may see."""
    hidden = await make_world(engine, {"a": {"main": 10, "far": 10}}, locations=("main", "far"))
    own = await make_world(engine, {"b": 10}, locations=("second",), prices="second")
    return await Shop.open(hidden), await Shop.open(own)


@pytest.fixture
async def api(database_url: str, shops: tuple[Shop, Shop]) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as running:
        yield running


def strangers(hidden: Shop, own: Shop) -> dict[str, Principal | None]:
    return {
        "another channel's partner": own.world.partner,
        "another location": warehouse(own.world, own.location),
        SAME_CHANNEL: warehouse(hidden.world, "far"),
        "another customer": customer(own.world.customer_id),
        "a guest of another order": guest(own.order_id),
        "nobody": None,
    }


def arguments(field: GraphQLField) -> Iterator[tuple[str, str]]:
    """Each argument that names an entity, with how it is written around an id."""
    for name, argument in field.args.items():
        named = get_named_type(argument.type)
        if isinstance(named, GraphQLInputObjectType):
            for member, definition in named.fields.items():
                if member in NAMES_NOTHING:
                    continue
                assert get_named_type(definition.type).name == "ID", f"{name}.{member}: what does it name?"
                yield member, f"{name}: {{{member}: [%s]}}"
        elif name not in NAMES_NOTHING:
            listed = str(argument.type).startswith("[")
            yield name, f"{name}: [%s]" if listed else f"{name}: %s"


def selection(catalog: Catalog, type_: GraphQLObjectType, scopes: frozenset[Any]) -> str:
    """All that the caller may select: fields, and the ids of what they lead to."""
    shown = []
    for name, field in type_.fields.items():
        read = catalog.read(field)
        if read is not None and read.scope is not None and read.scope not in scopes:
            continue
        if is_leaf_type(get_named_type(field.type)):
            shown.append(name)
        elif isinstance(read, ReadOne):
            shown.append(f"{name} {{ id }}")
    return " ".join(shown)


def subscriptions(
    catalog: Catalog, shop: Shop, caller: Principal | None, after: str | None
) -> Iterator[tuple[Case, str, str]]:
    """Each case with what follows the hidden entity, and what follows one that never was."""
    root = catalog.schema.subscription_type
    assert root is not None
    for name, field in root.fields.items():
        item: Any = get_named_type(field.type)
        shown = selection(catalog, item, frozenset() if caller is None else caller.scopes)
        given = f'after: "{after}"' if after and "after" in field.args else ""
        if name != "orderStatus":  # one order, always
            argument = f"({given})" if given else ""
            everything = f"subscription {{ {name}{argument} {{ {shown} }} }}"
            yield (name, ""), everything, everything
        for argument, written in arguments(field):
            texts = []
            for id in (shop.ids[PREFIXES[argument]] if argument in PREFIXES else None, uuid4()):
                literal = f'"{PREFIXES[argument]}_{id}"' if argument in PREFIXES else f'"{shop.sku}"'
                texts.append(f"subscription {{ {name}({written % literal} {given}) {{ {shown} }} }}")
            yield (name, argument), texts[0], texts[1]


class Listener:
    """One subscription; `heard` is what it was told, as text."""

    def __init__(self, api: Api, caller: Principal | None, query: str) -> None:
        self.heard: list[str] = []
        self.begun = asyncio.Event()
        self.caller = caller
        self._api = api
        self.query = query

    async def by_socket(self) -> None:
        async with connect(self._api.websocket_url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item] # a plain text
            sent: dict[str, Any] = {"type": "connection_init"}
            if self.caller is not None:
                sent["payload"] = {"authorization": f"Bearer {self._api.token(self.caller)}"}
            payloads = ((self.query, "1"), ("{ __typename }", "probe"))
            with contextlib.suppress(ConnectionClosed):
                await socket.send(orjson.dumps(sent).decode())
                await socket.recv()
                for query, id in payloads:
                    message = {"type": "subscribe", "id": id, "payload": {"query": query}}
                    await socket.send(orjson.dumps(message).decode())
                async for text in socket:
                    message = orjson.loads(text)
                    if message.get("id") == "probe":
                        self.begun.set()
                    elif message.get("id") == "1":
                        self.heard.append(str(text))
            self.heard.append(f"closed with {socket.close_code}")
            self.begun.set()

    async def by_events(self) -> None:
        headers = {"accept": "text/event-stream"}
        if self.caller is not None:
            headers["authorization"] = f"Bearer {self._api.token(self.caller)}"
        async with (
            httpx2.AsyncClient(base_url=self._api.base, timeout=60) as client,
            client.stream("POST", "/graphql", json={"query": self.query}, headers=headers) as response,
        ):
            self.heard += [] if response.status_code == 200 else [f"status {response.status_code}"]
            self.begun.set()
            async for line in response.aiter_lines():
                if line.startswith(("data:", "{")):
                    self.heard.append(line)


@contextlib.asynccontextmanager
async def listening(listeners: list[Listener], transport: str) -> AsyncIterator[None]:
    """While the block runs all of them follow; each has begun before it runs."""
    tasks = [
        asyncio.create_task(each.by_socket() if transport == "websocket" else each.by_events())
        for each in listeners
    ]
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.begun.wait() for each in listeners))
            yield
    finally:
        for task in tasks:
            task.cancel()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert error is None or isinstance(error, asyncio.CancelledError), error


def normal(heard: list[str]) -> list[str]:
    """Without ids and cursors: what remains tells hidden from never there, if anything does."""
    return [re.sub(r"[A-Za-z0-9_-]{32}", "a cursor", UUID_TEXT.sub("an id", text)) for text in heard]


async def positions_of(hidden: Shop) -> dict[int, Any]:
    """The log's rows by position, once everything has its place."""
    while await hidden.world.all(sa.select(Outbox.id)):  # noqa: ASYNC110 - the relay tells nobody
        await asyncio.sleep(0.01)
    return {row.position: row for row in await hidden.world.all(sa.select(EventLog.__table__))}


async def heard_by(listeners: list[Listener], text: str) -> None:
    """Until each has heard of this, or cannot any more: those that are refused otherwise have heard that."""
    for each in listeners:
        while not any(text in heard or "error" in heard or "closed" in heard for heard in each.heard):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def tells_nothing(
    listener: Listener, forbidden: set[str], hidden: Shop, log: dict[int, Any], place: Any
) -> int:
    """No id of what is hidden but those that were sent, and no event of it; how many events were told of."""
    heard = " ".join(listener.heard)
    assert set(UUID_TEXT.findall(heard)) & forbidden <= set(UUID_TEXT.findall(listener.query)), place
    told = re.findall(r'"cursor":"([^"]+)"', heard)
    for text in told:
        cursor = cursors.parse(text)
        assert cursor is not None
        row = log[cursor.position]
        assert row.order_id != hidden.order_id, place
        assert row.location_id != hidden.ids["loc"], place
    return len(told)


@pytest.mark.parametrize(
    ("transport", "begins"),
    [
        ("websocket", "live"),
        ("websocket", "after a cursor"),
        ("websocket", "after an expired cursor"),
        ("server-sent events", "live"),
    ],
)
async def test_nobody_is_told_of_what_they_may_not_see(
    catalog: Catalog, api: Api, shops: tuple[Shop, Shop], transport: str, begins: str
) -> None:
    hidden, own = shops
    start = max(await positions_of(hidden))
    after = None
    if begins != "live":
        await hidden.live()
        await own.live()
        await positions_of(hidden)
        epoch = (await hidden.world.one(sa.select(Relay.epoch))).epoch
        after = str(cursors.Cursor(epoch if begins == "after a cursor" else uuid4(), start))
    cases = [
        (name, case, Listener(api, caller, followed), Listener(api, caller, never))
        for name, caller in strangers(hidden, own).items()
        for case, followed, never in subscriptions(catalog, hidden, caller, after)
    ]
    assert len(cases) == len(strangers(hidden, own)) * 20
    listeners = [listener for *_, first, second in cases for listener in (first, second)]
    if begins == "after an expired cursor":
        for some in range(0, len(listeners), 20):  # each asks the database, which has few connections here
            async with listening(listeners[some : some + 20], transport):
                await heard_by(listeners[some : some + 20], "CURSOR_EXPIRED")
    else:
        seeing = set(strangers(hidden, own)) - {"nobody", SAME_CHANNEL}
        controls = [
            each for name, case, each, _ in cases if name in seeing and case == ("shipmentEvents", "")
        ]
        async with listening(listeners, transport):
            if begins == "live":
                await hidden.live()
                await own.live()
            await heard_by(controls, LAST)
            await asyncio.sleep(0.7)
    log = await positions_of(hidden)
    forbidden = await hidden.hidden_ids()
    told = 0
    for name, (field, argument), by_id, by_no_id in cases:
        place = (name, field, argument)
        seen_too = {str(hidden.ids["chn"])} if name == SAME_CHANNEL else set()
        for listener in (by_id, by_no_id):
            told += tells_nothing(listener, forbidden - seen_too, hidden, log, place)
        if argument:
            assert '"data"' not in " ".join(by_id.heard), place
        if argument not in ("", "skus"):  # that a SKU is sold may be known
            assert normal(by_id.heard) == normal(by_no_id.heard), place
        if name == "nobody":
            assert by_id.heard[0] in ("closed with 4403", "status 401"), place
    assert told > 20 or begins == "after an expired cursor"
