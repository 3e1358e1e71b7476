"""Making and changing master data, one by one and in batches."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import partner
from db.channels import Channel, ChannelLocation, ExternalId
from db.customers import Customer
from db.events import Outbox
from db.locations import Location
from db.products import Price, PriceList, Product
from domain.access import SYSTEM
from domain.channels import ServingLocation, UpsertChannel
from domain.customers import UpsertCompany, UpsertCustomer
from domain.errors import AlreadyExists, InvalidInput, NotFound, Refused
from domain.locations import UpsertLocation
from domain.money import Money
from domain.order_commands import Address
from domain.orders import ChannelKind, CollectedBy, PricingAuthority, ReleaseGate
from domain.prices import SetPrice, UpsertPriceList
from domain.products import UpsertProduct
from domain.stock import LocationKind
from domain.upserts import ExternalName
from services.channels import order_number_sequence, upsert_channel
from services.customers import upsert_company, upsert_customer, upsert_customers
from services.locations import upsert_location
from services.prices import upsert_price, upsert_price_list, upsert_prices
from services.products import upsert_product, upsert_products
from services.unit_of_work import Key, UnitOfWork
from tests.invariants import assert_invariants

ERP = ExternalName(system="erp", id="P-1")


@pytest.fixture
def work(engine: AsyncEngine) -> UnitOfWork:
    return UnitOfWork(engine)


async def rows(engine: AsyncEngine, statement: sa.Select[Any]) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(statement)).all())


async def events_of(engine: AsyncEngine, entity_id: UUID) -> list[tuple[str, int, dict[str, Any]]]:
    found = await rows(
        engine, sa.select(Outbox).where(Outbox.aggregate_id == entity_id).order_by(Outbox.version)
    )
    return [(row.type, row.version, row.details) for row in found]


async def test_a_product_is_made_then_changed_by_its_sku(engine: AsyncEngine, work: UnitOfWork) -> None:
    made = await work.run(
        upsert_product,
        UpsertProduct(sku="CHAI", name="Chai", barcode="400", cost=Money(1050, "EUR"), external_ids=(ERP,)),
        actor=SYSTEM,
    )
    changed = await work.run(
        upsert_product, UpsertProduct(sku="CHAI", name="Chai tea", barcode=None), actor=SYSTEM
    )
    assert changed == made
    (product,) = await rows(engine, sa.select(Product.__table__))
    assert (product.sku, product.name, product.barcode, product.cost_amount, product.version) == (
        "CHAI",
        "Chai tea",
        None,
        1050,
        2,
    )
    assert await events_of(engine, made) == [
        ("PRODUCT_CREATED", 1, {"sku": "CHAI"}),
        ("PRODUCT_UPDATED", 2, {"sku": "CHAI", "changed": ["barcode", "name"]}),
    ]
    await assert_invariants(engine)


async def test_what_changes_nothing_records_nothing(engine: AsyncEngine, work: UnitOfWork) -> None:
    command = UpsertProduct(sku="CHAI", name="Chai", metadata_={"a": [1]}, external_ids=(ERP,))
    made = await work.run(upsert_product, command, actor=SYSTEM)
    assert await work.run(upsert_product, command, actor=SYSTEM) == made
    assert len(await events_of(engine, made)) == 1


async def test_an_external_id_finds_the_entity_and_lets_its_sku_change(
    engine: AsyncEngine, work: UnitOfWork
) -> None:
    made = await work.run(
        upsert_product, UpsertProduct(sku="OLD", name="Chai", external_ids=(ERP,)), actor=SYSTEM
    )
    found = await work.run(upsert_product, UpsertProduct(sku="NEW", external_ids=(ERP,)), actor=SYSTEM)
    assert found == made
    assert [row.sku for row in await rows(engine, sa.select(Product.sku))] == ["NEW"]


async def test_one_bad_item_stops_no_other(engine: AsyncEngine, work: UnitOfWork) -> None:
    taken = await work.run(upsert_product, UpsertProduct(sku="TAKEN", name="Taken"), actor=SYSTEM)
    outcomes = await work.run(
        upsert_products,
        (
            UpsertProduct(sku="A", name="A", external_ids=(ERP,)),
            UpsertProduct(sku="B"),
            UpsertProduct(sku=" C", name="C"),
            UpsertProduct(id=uuid4(), name="D"),
            UpsertProduct(sku="A", name="again"),
            UpsertProduct(id=taken, sku=None),
            UpsertProduct(sku="Z", name="Z", weight_grams=-1, barcode="x" * 100),
        ),
        actor=SYSTEM,
    )
    assert outcomes[0].id is not None
    assert [[(type(error), error.field) for error in outcome.errors] for outcome in outcomes] == [
        [],
        [(InvalidInput, ("name",))],
        [(InvalidInput, ("sku",))],
        [(NotFound, ("id",))],
        [(InvalidInput, ())],
        [(InvalidInput, ("sku",))],
        [(InvalidInput, ("barcode",)), (InvalidInput, ("weightGrams",))],
    ]
    assert {row.sku for row in await rows(engine, sa.select(Product.sku))} == {"TAKEN", "A"}
    await assert_invariants(engine)


async def test_a_repeated_key_answers_the_same_with_every_error(work: UnitOfWork) -> None:
    commands = (UpsertProduct(sku="A", name="A"), UpsertProduct(sku="B"))
    key = Key("k", b"f")
    first = await work.run(upsert_products, commands, actor=SYSTEM, key=key)
    assert await work.run(upsert_products, commands, actor=SYSTEM, key=key) == first


async def test_a_sku_of_another_product_is_refused(work: UnitOfWork) -> None:
    await work.run(upsert_product, UpsertProduct(sku="A", name="A"), actor=SYSTEM)
    other = await work.run(upsert_product, UpsertProduct(sku="B", name="B"), actor=SYSTEM)
    with pytest.raises(Refused) as refused:
        await work.run(upsert_product, UpsertProduct(id=other, sku="A"), actor=SYSTEM)
    assert [type(error) for error in refused.value.errors] == [AlreadyExists]


async def test_rivals_that_make_the_same_products_make_each_once(
    engine: AsyncEngine, work: UnitOfWork
) -> None:
    commands = tuple(
        UpsertProduct(sku=f"S{n}", name="n", external_ids=(ExternalName(system="erp", id=str(n)),))
        for n in range(100)
    )
    answers = await asyncio.gather(
        *(work.run(upsert_products, commands[::step], actor=SYSTEM) for step in (1, -1, 1, -1))
    )
    assert [outcome.errors for answer in answers for outcome in answer] == [()] * 400
    assert len({outcome.id for answer in answers for outcome in answer}) == 100
    assert len(await rows(engine, sa.select(Product.id))) == 100
    assert len(await rows(engine, sa.select(ExternalId.id))) == 100
    await assert_invariants(engine)


async def make_location(work: UnitOfWork, code: str = "BERLIN") -> UUID:
    return await work.run(
        upsert_location,
        UpsertLocation(code=code, name=code, kind=LocationKind.WAREHOUSE, time_zone="Europe/Berlin"),
        actor=SYSTEM,
    )


async def test_a_channel_gets_the_usual_rules_its_locations_and_its_numbers(
    engine: AsyncEngine, work: UnitOfWork
) -> None:
    berlin, rome = await make_location(work), await make_location(work, "ROME")
    command = UpsertChannel(
        code="MARKET",
        name="Market",
        kind=ChannelKind.MARKETPLACE,
        currency="EUR",
        locations=(ServingLocation(location_id=berlin), ServingLocation(location_id=rome, rank=1)),
    )
    made = await work.run(upsert_channel, command, actor=SYSTEM)
    await work.run(upsert_channel, command, actor=SYSTEM)
    await work.run(upsert_channel, UpsertChannel(id=made, stock_buffer=2), actor=SYSTEM)
    moved = replace(command, locations=(ServingLocation(location_id=rome),))
    await work.run(upsert_channel, moved, actor=SYSTEM)
    (channel,) = await rows(engine, sa.select(Channel.__table__))
    assert (channel.pricing_authority, channel.collected_by, channel.release_gate) == (
        PricingAuthority.PARTNER,
        CollectedBy.MARKETPLACE,
        ReleaseGate.MARKETPLACE,
    )
    assert [tuple(row) for row in await rows(engine, sa.select(ChannelLocation.__table__))] == [
        (made, rome, 0)
    ]
    assert [details.get("changed") for _, _, details in await events_of(engine, made)] == [
        None,
        ["stockBuffer"],
        ["locations"],
    ]
    async with engine.begin() as connection:
        assert await connection.scalar(sa.func.nextval(order_number_sequence(made)).select()) == 1001
    with pytest.raises(Refused) as refused:
        await work.run(
            upsert_channel, replace(command, locations=(ServingLocation(location_id=uuid4()),)), actor=SYSTEM
        )
    assert refused.value.errors[0].field == ("locations", "0", "locationId")
    await assert_invariants(engine)


async def test_a_location_has_a_time_zone_of_the_iana_database(work: UnitOfWork) -> None:
    with pytest.raises(Refused, match="IANA"):
        await work.run(
            upsert_location,
            UpsertLocation(code="X", name="X", kind=LocationKind.STORE, time_zone="Mars/Crater"),
            actor=SYSTEM,
        )


async def test_customers_belong_to_companies_and_their_events_tell_nothing_of_them(
    engine: AsyncEngine, work: UnitOfWork
) -> None:
    company = await work.run(
        upsert_company,
        UpsertCompany(name="Alfreds", external_ids=(ExternalName(system="crm", id="7"),)),
        actor=SYSTEM,
    )
    made = await work.run(
        upsert_customer,
        UpsertCustomer(
            name="Maria Anders",
            email="maria@example.org",
            company_id=company,
            address=Address(city="Berlin"),
            external_ids=(ExternalName(system="crm", id="7"),),
        ),
        actor=SYSTEM,
    )
    await work.run(upsert_customer, UpsertCustomer(id=made, address=None), actor=SYSTEM)
    (customer,) = await rows(engine, sa.select(Customer.__table__))
    assert (customer.email, customer.company_id, customer.address) == ("maria@example.org", company, {})
    assert await events_of(engine, made) == [
        ("CUSTOMER_CREATED", 1, {}),
        ("CUSTOMER_UPDATED", 2, {"changed": ["address"]}),
    ]
    with pytest.raises(Refused) as refused:
        await work.run(upsert_customer, UpsertCustomer(id=made, company_id=uuid4()), actor=SYSTEM)
    assert (type(refused.value.errors[0]), refused.value.errors[0].field) == (NotFound, ("companyId",))


async def test_a_partner_of_a_channel_writes_only_what_its_bounds_allow(
    engine: AsyncEngine, work: UnitOfWork
) -> None:
    channels = [
        await work.run(
            upsert_channel,
            UpsertChannel(code=code, name=code, kind=ChannelKind.ECOMMERCE, currency="EUR"),
            actor=SYSTEM,
        )
        for code in ("MINE", "THEIRS")
    ]
    me = partner("partner:mine", channels=(channels[0],))
    them = partner("partner:theirs", channels=(channels[1],))
    name = ExternalName(system="shop", id="c1")
    mine = await work.run(upsert_customer, UpsertCustomer(name="M", external_ids=(name,)), actor=me)
    theirs = await work.run(upsert_customer, UpsertCustomer(name="T", external_ids=(name,)), actor=them)
    assert mine != theirs
    foreign = replace(name, channel_id=channels[1])
    outcomes = await work.run(
        upsert_customers,
        (
            UpsertCustomer(id=theirs, name="stolen"),
            UpsertCustomer(name="nameless"),
            UpsertCustomer(name="foreign", external_ids=(foreign,)),
            UpsertCustomer(name="M2", external_ids=(name,)),
        ),
        actor=me,
    )
    assert [[type(error) for error in outcome.errors] for outcome in outcomes] == [
        [NotFound],
        [InvalidInput],
        [InvalidInput],
        [],
    ]
    for command, use_case in (
        (UpsertProduct(sku="A", name="A"), upsert_product),
        (UpsertLocation(code="A", name="A", kind=LocationKind.STORE), upsert_location),
        (UpsertChannel(code="A", name="A", kind=ChannelKind.STORE, currency="EUR"), upsert_channel),
        (UpsertPriceList(code="A", name="A", currency="EUR"), upsert_price_list),
        (UpsertPriceList(code="A", name="A", currency="EUR", channel_id=channels[1]), upsert_price_list),
    ):
        with pytest.raises(Refused):
            await work.run(use_case, command, actor=me)  # type: ignore[arg-type] # each with its own
    assert await rows(engine, sa.select(Product.id)) == []
    assert await rows(engine, sa.select(Location.id)) == []
    assert await rows(engine, sa.select(PriceList.id)) == []
    own = UpsertPriceList(code="A", name="A", currency="EUR", channel_id=channels[0])
    await work.run(upsert_price_list, own, actor=me)
    named = await rows(engine, sa.select(Customer.name).order_by(Customer.name))
    assert [row.name for row in named] == ["M2", "T"]


async def test_prices_are_set_changed_and_taken_off(engine: AsyncEngine, work: UnitOfWork) -> None:
    await work.run(upsert_product, UpsertProduct(sku="A", name="A"), actor=SYSTEM)
    made = await work.run(
        upsert_price_list, UpsertPriceList(code="LIST", name="List", currency="EUR"), actor=SYSTEM
    )
    first = SetPrice(price_list_code="LIST", sku="A", price=Money(500, "EUR"))
    bulk = replace(first, minimum_quantity=10, price=Money(450, "EUR"))
    price = await work.run(upsert_price, first, actor=SYSTEM)
    outcomes = await work.run(
        upsert_prices,
        (
            replace(first, price=Money(550, "EUR")),
            bulk,
            replace(first, price_list_code="NONE"),
            replace(first, sku="NONE"),
            replace(first, price=Money(1, "USD"), minimum_quantity=2),
            bulk,
        ),
        actor=SYSTEM,
    )
    assert outcomes[0].id == price
    assert [[type(error) for error in outcome.errors] for outcome in outcomes] == [
        [],
        [],
        [NotFound],
        [NotFound],
        [InvalidInput],
        [InvalidInput],
    ]
    assert await work.run(upsert_price, replace(bulk, price=None), actor=SYSTEM) is None
    (left,) = await rows(engine, sa.select(Price.__table__))
    assert (left.id, left.amount, left.minimum_quantity) == (price, 550, 1)
    assert [(version, details.get("amount")) for _, version, details in await events_of(engine, made)] == [
        (1, None),
        (2, 500),
        (3, 550),
        (4, 450),
        (5, None),
    ]
    with pytest.raises(Refused, match="never changes"):
        await work.run(upsert_price_list, UpsertPriceList(code="LIST", currency="USD"), actor=SYSTEM)
    await assert_invariants(engine)
