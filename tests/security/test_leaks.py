"""The whole schema, walked as every kind of caller: nothing hidden is shown, and what is hidden is as if it never was.

Who may see what is told by `tests/reads/sight.py`, in Python from the rules; the SQL is what is tried.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
)

from app.graphql.execution import Executor
from db.engine import Engine, create_write_engine
from db.keyed_reads import KeyedReads
from db.reads import Reads
from domain.access import Principal, PrincipalKind
from domain.ids import Prefix
from resolvers.context import Context
from schema.plan.operation import RequestError
from schema.plan.planner import Planner
from schema.plan.reading import PLAN, ReadConnection
from services.unit_of_work import UnitOfWork
from tests.plan.conftest import CountingReads
from tests.plan.test_whole_schema import keyed, make_planner, selection
from tests.reads.facts import Entity, Facts
from tests.reads.sight import Sight
from tests.reads.test_oracle import callers, facts, planner, shop_url  # noqa: F401 - fixtures

pytestmark = pytest.mark.filterwarnings("ignore:SELECT statement has a cartesian product")

ID = re.compile(r"\b([a-z]{3})_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b")
SEVERAL = 5
"""Visible rows of each type that are walked from, and hidden ones that mutations are tried with."""

WHO = range(7)
"""Staff, partners by channels, by location, by both, two customers, a guest."""

PREFIXES = {
    "channelId": Prefix.CHANNEL, "locationId": Prefix.LOCATION, "companyId": Prefix.COMPANY,
    "fulfillmentOrderId": Prefix.FULFILLMENT_ORDER, "fulfillmentOrderLineId": Prefix.FULFILLMENT_ORDER_LINE,
    "orderId": Prefix.ORDER, "customerId": Prefix.CUSTOMER, "reservationId": Prefix.RESERVATION,
    "lineId": Prefix.ORDER_LINE, "holdId": Prefix.HOLD, "paymentId": Prefix.PAYMENT,
    "transactionId": Prefix.PAYMENT_TRANSACTION, "returnId": Prefix.RETURN, "priceListId": Prefix.PRICE_LIST,
    "productId": Prefix.PRODUCT, "orderLineId": Prefix.ORDER_LINE, "returnLineId": Prefix.RETURN_LINE,
    "shipmentId": Prefix.SHIPMENT, "packageId": Prefix.PACKAGE, "channels": Prefix.CHANNEL,
    "locations": Prefix.LOCATION,
}  # fmt: skip
OF_MUTATION = {
    "apiKey": Prefix.API_KEY, "channel": Prefix.CHANNEL, "compan": Prefix.COMPANY, "customer": Prefix.CUSTOMER,
    "discrepancy": Prefix.DISCREPANCY, "fulfillmentOrder": Prefix.FULFILLMENT_ORDER, "location": Prefix.LOCATION,
    "priceList": Prefix.PRICE_LIST, "product": Prefix.PRODUCT, "return": Prefix.RETURN, "shipment": Prefix.SHIPMENT,
}  # fmt: skip


@pytest.fixture
async def executor(shop_url: str, planner: Planner) -> AsyncIterator[Executor]:  # noqa: F811 - fixtures
    reads = Reads(shop_url, size=1)
    yield Executor(planner, reads, reads, lambda caller: None)
    await reads.close()


class Walk:
    """One caller's way through the schema."""

    def __init__(self, executor: Executor, planner: Planner, facts: Facts, caller: Principal) -> None:  # noqa: F811
        self.caller = caller
        self.sight = Sight(facts.tables, caller)
        self.planner = planner
        self._executor = executor
        self._facts = facts
        self._orders = {row["id"]: row for row in facts.tables["orders"]}

    def execute_by(self, reads: Reads, engine: Engine) -> None:
        """By the planner as it is served: the oracle's answers mutations itself."""
        unit_of_work = UnitOfWork(engine)
        self._executor = Executor(
            make_planner(), reads, reads, lambda caller: Context(caller, unit_of_work, "")
        )

    async def ask(self, text: str) -> bytes:
        return (await self._executor.execute(text, None, {}, self.caller)).body

    def nodes(self) -> Iterator[tuple[str, str, list[Entity]]]:
        """Prefix, GraphQL name and rows of every type with global ids."""
        for prefix, name in self.planner.catalog.nodes.items():
            type_ = self.planner.catalog.types[name][0]
            yield prefix, type_.name, list(self._facts.entities[name].values())

    def sees(self, entity: Entity) -> bool:
        return self.sight.sees(entity.table, entity.row)

    def hidden(self, prefix: str, count: int) -> list[UUID]:
        rows = list(self._facts.entities[self.planner.catalog.nodes[prefix]].values())
        return [entity.row["id"] for entity in rows if not self.sees(entity)][:count]

    def strangers(self, body: bytes) -> set[str]:
        """The ids in an answer that the caller may see neither from the root nor as a part of what it sees."""
        found = set()
        for prefix, id in set(ID.findall(body.decode())):
            if prefix not in self.planner.catalog.nodes:
                continue
            entity = self._facts.entities[self.planner.catalog.nodes[prefix]].get(UUID(id))
            if entity is not None and not self.sees(entity) and not self._part_of_what_is_seen(entity):
                found.add(f"{prefix}_{id}")
        return found

    def _part_of_what_is_seen(self, entity: Entity) -> bool:
        order = self._orders.get(entity.row.get("order_id"))
        with_parent = self.sight.sees(entity.table, entity.row, with_parent=True)
        return order is not None and with_parent and self.sight.sees("orders", order)


@pytest.fixture
def walk(executor: Executor, planner: Planner, facts: Facts, request: Any) -> Walk:  # noqa: F811 - fixtures
    return Walk(executor, planner, facts, callers(facts)[request.param])


@pytest.mark.parametrize("walk", WHO, indirect=True)
async def test_what_is_hidden_is_answered_by_id_as_what_never_was(walk: Walk) -> None:
    for prefix, name, rows in walk.nodes():
        hidden = [entity.row["id"] for entity in rows if not walk.sees(entity)]
        shape = f"{{ id ... on {name} {{ __typename }} }}"
        for start in range(0, len(hidden), 50):
            some = hidden[start : start + 50]
            asked, never = [
                await walk.ask(
                    "{ nodes(ids: [" + ", ".join(f'"{prefix}_{id}"' for id in ids) + f"]) {shape} }}"
                )
                for ids in (some, [uuid4() for _ in some])
            ]
            assert asked == never, name
        for id in hidden[:SEVERAL]:
            bodies = [await walk.ask(f'{{ node(id: "{prefix}_{each}") {shape} }}') for each in (id, uuid4())]
            assert bodies[0] == bodies[1], name


@pytest.mark.parametrize("walk", WHO, indirect=True)
async def test_nothing_that_hangs_on_what_one_sees_is_a_strangers(walk: Walk) -> None:
    for prefix, name, rows in walk.nodes():
        type_ = walk.planner.catalog.schema.type_map[name]
        body = selection(walk.planner, type_, 2)  # type: ignore[arg-type] # an object type
        for entity in [entity for entity in rows if walk.sees(entity)][:SEVERAL]:
            text = f'{{ node(id: "{prefix}_{entity.row["id"]}") {{ ... on {name} {{ {body} }} }} }}'
            answer = await walk.ask(text)
            if b'"FORBIDDEN"' in answer:  # a portal may not name some of these fields at all
                assert b'"data"' not in answer
                continue
            assert walk.strangers(answer) == set(), (name, entity.row["id"])


def another(facts: Facts, caller: Principal) -> Principal:  # noqa: F811
    """One of the same kind, to whom other rows are shown."""
    channels = tuple(row["id"] for row in facts.tables["channel"])
    locations = tuple(row["id"] for row in facts.tables["location"])
    orders = facts.tables["orders"]
    if caller.kind is PrincipalKind.GUEST:
        return replace(caller, order_id=next(row["id"] for row in orders if row["id"] != caller.order_id))
    if caller.kind is PrincipalKind.CUSTOMER:
        mine, company = caller.customer_id, caller.company_id
        row = next(
            row
            for row in orders
            if row["customer_id"] not in (None, mine)
            and (company is None or row["company_id"] not in (None, company))
        )
        return replace(
            caller, customer_id=row["customer_id"], company_id=None if company is None else row["company_id"]
        )
    return replace(
        caller,
        channels=None if caller.channels is None else channels[-1:],
        locations=None if caller.locations is None else locations[:1] if caller.channels else locations[-1:],
    )


@pytest.mark.parametrize("walk", WHO, indirect=True)
async def test_of_what_is_asked_for_together_each_is_shown_what_it_would_be_shown_alone(
    walk: Walk,
    executor: Executor,
    facts: Facts,  # noqa: F811 - a fixture
    shop_url: str,  # noqa: F811 - a fixture
) -> None:
    walks = [walk, Walk(executor, walk.planner, facts, another(facts, walk.caller))]
    reads = CountingReads(shop_url)
    told_apart = 0
    for prefix, name, rows in walk.nodes():
        try:
            statement = keyed(walk.planner, prefix, walk.caller)
        except RequestError:  # a portal may not name some of these fields at all
            continue
        seen = [[entity for entity in rows if each.sees(entity)] for each in walks]
        hidden = [entity for entity in rows if not any(each.sees(entity) for each in walks)]
        asked = {entity.row["id"]: entity for some in (*seen, hidden) for entity in some[:SEVERAL]}
        reading = KeyedReads(reads)
        texts = await asyncio.gather(
            *(
                reading.fetch(
                    statement.sql, [], statement.bounds_of(walk.planner.values_of(each.caller)), [*asked]
                )
                for each in walks
            )
        )
        told_apart += texts[0].keys() != texts[1].keys()
        for each, shown in zip(walks, texts, strict=True):
            assert shown.keys() == {id for id, entity in asked.items() if each.sees(entity)}, name
            body = selection(walk.planner, walk.planner.catalog.schema.type_map[name], 2)  # type: ignore[arg-type]
            for id, text in shown.items():
                alone = await each.ask(f'{{ node(id: "{prefix}_{id}") {{ ... on {name} {{ {body} }} }} }}')
                assert alone.startswith(f'{{"data":{{"node":{text}}},"extensions"'.encode()), (name, id)
    assert len(reads.statements) == len(set(reads.statements)) >= 3
    assert told_apart >= 3 or walk.caller.kind is PrincipalKind.STAFF
    await reads.close()


@pytest.mark.parametrize("walk", WHO, indirect=True)
async def test_no_page_and_no_filter_shows_or_betrays_what_is_hidden(walk: Walk) -> None:
    query = walk.planner.catalog.schema.query_type
    assert query is not None
    tried = 0
    for name, field in query.fields.items():
        read = walk.planner.catalog.read(field)
        if not isinstance(read, ReadConnection):
            continue
        type_, planned = walk.planner.catalog.planned(read.target)
        shown = "id" if planned.node else "__typename"
        for way in ("first: 100", "last: 100"):
            assert (
                walk.strangers(await walk.ask(f"{{ {name}({way}) {{ nodes {{ {shown} }} }} }}")) == set()
            ), name
        filter_type = field.args["filter"].type if "filter" in field.args else None
        for member_name, member in getattr(filter_type, "fields", {}).items():
            prefix = getattr(member.extensions["strawberry-definition"].metadata.get(PLAN), "node", None)
            if prefix not in walk.planner.catalog.nodes:
                continue
            is_list = isinstance(getattr(member.type, "of_type", member.type), GraphQLList) or isinstance(
                member.type, GraphQLList
            )
            for id in walk.hidden(prefix, SEVERAL):
                bodies = []
                for each in (id, uuid4()):
                    given = f'["{prefix}_{each}"]' if is_list else f'"{prefix}_{each}"'
                    bodies.append(
                        await walk.ask(
                            f"{{ {name}(filter: {{{member_name}: {given}}}) {{ totalCount nodes {{ {shown} }} }} }}"
                        )
                    )
                tried += 1
                assert walk.strangers(bodies[0]) == set(), (name, member_name)
                if type_.name not in SEEN_BESIDE:
                    assert bodies[0] == bodies[1], (name, member_name)
    assert tried or walk.caller.account == "staff:development"


SEEN_BESIDE = {
    "Order",
    "Return",
    "Shipment",
    "FulfillmentOrder",
    "StockLevel",
    "Customer",
    "Price",
    "Discrepancy",
}
"""Rows of these may be one's own although what they are filtered by is not: an order's location, a company."""


def literal(type_: Any, name: str, mutation: str, ids: dict[str, UUID]) -> str:  # noqa: PLR0911 - one a kind
    """The least that a required input takes; ids by the names of fields."""
    match type_:
        case GraphQLNonNull():
            return literal(type_.of_type, name, mutation, ids)
        case GraphQLList():
            return f"[{literal(type_.of_type, name, mutation, ids)}]"
        case GraphQLEnumType():
            return next(iter(type_.values))
        case GraphQLInputObjectType():
            members = {
                member_name: literal(member.type, member_name, mutation, ids)
                for member_name, member in type_.fields.items()
                if isinstance(member.type, GraphQLNonNull) or _is_id(member.type)
            }
            return "{" + ", ".join(f"{key}: {value}" for key, value in members.items() if value) + "}"
    kind = get_named_type(type_).name
    if kind == "ID":
        prefix = prefix_of(name, mutation)
        return f'"{prefix}_{ids[prefix]}"' if prefix in ids else ""
    if kind in ("Int", "BigInt"):
        return "1"
    return {"Boolean": "true", "Decimal": '"1"', "DateTime": '"2025-01-01T00:00:00Z"'}.get(kind, '"x"')


def _is_id(type_: Any) -> bool:
    return bool(get_named_type(type_).name == "ID")


def prefix_of(name: str, mutation: str) -> str:
    if name in PREFIXES:
        return PREFIXES[name]
    return next((prefix for start, prefix in OF_MUTATION.items() if mutation.startswith(start)), "")


def asked_ids(type_: Any, name: str, mutation: str) -> Iterator[str]:
    """The prefixes of all ids that an input may hold."""
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        for member_name, member in named.fields.items():
            if isinstance(member.type, GraphQLNonNull) or _is_id(member.type):
                yield from asked_ids(member.type, member_name, mutation)
    elif named.name == "ID":
        yield prefix_of(name, mutation)


@pytest.mark.parametrize("walk", WHO[1:], indirect=True)
async def test_no_mutation_tells_what_is_hidden_from_what_never_was(walk: Walk, shop_url: str) -> None:  # noqa: F811
    mutation = walk.planner.catalog.schema.mutation_type
    assert mutation is not None
    reads, engine = Reads(shop_url, size=1), create_write_engine(shop_url, pool_size=1)
    walk.execute_by(reads, engine)
    counted = "select (select count(*) from outbox) + (select coalesce(max(position), 0) from event_log)"
    before = (await reads.fetch_row(counted, ()))[0]
    tried = 0
    for name, field in mutation.fields.items():
        prefixes = {
            prefix
            for argument_name, argument in field.args.items()
            for prefix in asked_ids(argument.type, argument_name, name)
            if prefix in walk.planner.catalog.nodes
        }
        hidden = {prefix: walk.hidden(prefix, 1) for prefix in prefixes}
        if not prefixes or not all(hidden.values()):
            continue
        answers = []
        is_batch = "results" in get_named_type(field.type).fields  # type: ignore[union-attr] # a payload
        for ids in (
            {prefix: found[0] for prefix, found in hidden.items()},
            {prefix: uuid4() for prefix in prefixes},
        ):
            arguments = []
            for argument_name, argument in field.args.items():
                value = literal(argument.type, argument_name, name, ids)
                if isinstance(argument.type, GraphQLNonNull) and value:
                    arguments.append(
                        f'{argument_name}: "{uuid4()}"'
                        if argument_name == "idempotencyKey"
                        else f"{argument_name}: {value}"
                    )
            shown = "userErrors { code message field }"
            if is_batch:
                shown += f" results {{ {shown} }}"
            body = await walk.ask(f"mutation {{ {name}({', '.join(arguments)}) {{ {shown} }} }}")
            answers.append(ID.sub("an id", body.decode()))
        tried += 1
        assert answers[0] == answers[1], name
        assert is_batch or orjson.loads(answers[0]).get("data") is None or '"userErrors":[]' not in answers[0]
    after = (await reads.fetch_row(counted, ()))[0]
    await reads.close()
    await engine.dispose()
    assert tried
    assert after == before
