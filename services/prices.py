"""Price lists and the prices on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import insert

from db import visibility
from db.base import new_id
from db.channels import Channel
from db.engine import Session
from db.events import Outbox
from db.products import Price, PriceList, Product
from domain import ids
from domain.access import Principal, VisibilityClass
from domain.checks import Checks
from domain.errors import InvalidInput, NotFound, Refused, UserError
from domain.events import AggregateKind, EventType
from domain.ids import Prefix
from domain.orders import Origin
from domain.prices import SetPrice, UpsertPriceList, check_price, check_price_list
from services import events
from services.events import Event
from services.master_data import check_batch, upsert, upsert_one
from services.master_items import Item, Kind
from services.outcomes import ItemOutcome


def _permits(actor: Principal, item: Item) -> str | None:
    if actor.locations is not None:
        return "Your access is bounded to certain locations: it may not write prices."
    if actor.channels is None:
        return None
    before = item.current.channel_id if item.current is not None else item.value("channel_id")
    if before not in actor.channels or item.value("channel_id") not in actor.channels:
        return "Your access is bounded to channels: it may write price lists of these channels only."
    return None


PRICE_LIST = Kind(
    name=AggregateKind.PRICE_LIST,
    table=PriceList.metadata.tables["price_list"],
    prefix=Prefix.PRICE_LIST,
    natural_key="code",
    created=EventType.PRICE_LIST_CREATED,
    updated=EventType.PRICE_LIST_UPDATED,
    check=check_price_list,
    permits=_permits,
    references={"channel_id": (Channel.metadata.tables["channel"], Prefix.CHANNEL)},
    about=lambda item: {"channel_id": item.value("channel_id")},
    frozen=frozenset({"currency"}),  # its prices are amounts of that currency
)


async def upsert_price_list(
    session: Session, command: UpsertPriceList, /, *, actor: Principal, now: datetime
) -> UUID:
    """Make the price list or change the fields that were sent; returns its id."""
    return await upsert_one(session, PRICE_LIST, command, actor=actor, now=now)


async def upsert_price_lists(
    session: Session, commands: Sequence[UpsertPriceList], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100, each answered for itself."""
    check_batch(commands)
    return await upsert(session, PRICE_LIST, commands, actor=actor, now=now)


async def upsert_price(
    session: Session, command: SetPrice, /, *, actor: Principal, now: datetime
) -> UUID | None:
    """Set one price, or take it off its list; returns the price's id, None when it was taken off."""
    (outcome,) = await set_prices(session, (command,), actor=actor, now=now)
    if outcome.errors:
        raise Refused(*outcome.errors)
    return outcome.id


async def upsert_prices(
    session: Session, commands: Sequence[SetPrice], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100, each answered for itself."""
    check_batch(commands)
    return await set_prices(session, commands, actor=actor, now=now)


@dataclass(slots=True)
class _Setting:
    """One price on its way: its list and product once they are found."""

    command: SetPrice
    price_list: Row[Any] | None = None
    product_id: UUID | None = None
    before: Row[Any] | None = None
    id: UUID | None = None
    errors: list[UserError] = field(default_factory=list)

    @property
    def key(self) -> tuple[UUID | None, UUID | None, int]:
        list_id = self.price_list.id if self.price_list is not None else None
        return list_id, self.product_id, self.command.minimum_quantity

    @property
    def amount(self) -> int | None:
        return self.command.price.amount if self.command.price is not None else None

    @property
    def to_write(self) -> bool:
        stands = self.before.amount if self.before is not None else None
        return not self.errors and self.amount != stands


async def set_prices(
    session: Session,
    commands: Sequence[SetPrice],
    *,
    actor: Principal,
    now: datetime,
    origin: Origin = Origin.PLACED,
    tell: Callable[[int], None] = lambda index: None,
) -> tuple[ItemOutcome, ...]:
    """Set many prices; `tell` is called with the index of each that changed.

    Lists are locked first, so that nobody else changes their prices meanwhile.
    """
    settings = [_begin(command) for command in commands]
    await _find_lists(session, settings, actor)
    await _find_products(session, settings)
    await _find_prices(session, settings)
    _refuse(settings, actor)
    writing = [setting for setting in settings if setting.to_write]
    for index, setting in enumerate(settings):
        if setting.to_write:
            tell(index)
    await _store(session, writing, now)
    await _tell(session, writing, actor=actor, now=now, origin=origin)
    return tuple(ItemOutcome(None if s.errors else s.id, tuple(s.errors)) for s in settings)


def _begin(command: SetPrice) -> _Setting:
    checks = Checks()
    check_price(checks, command)
    return _Setting(command=command, errors=checks.errors)


async def _find_lists(session: Session, settings: Sequence[_Setting], actor: Principal) -> None:
    table = PRICE_LIST.table
    named = [setting.command for setting in settings if not setting.errors]
    statement = (
        sa.select(table)
        .where(
            sa.or_(
                table.c.id.in_({c.price_list_id for c in named if c.price_list_id is not None}),
                table.c.code.in_({c.price_list_code for c in named if c.price_list_code is not None}),
            ),
            visibility.predicate("price_list", table, VisibilityClass.of(actor)),
        )
        .order_by(table.c.id)
        .with_for_update(of=table)
    )
    rows = (await session.execute(statement, visibility.values(actor))).all()
    found: dict[Any, Row[Any]] = {**{row.id: row for row in rows}, **{row.code: row for row in rows}}
    for setting in settings:
        if setting.errors:
            continue
        command = setting.command
        setting.price_list = found.get(command.price_list_id or command.price_list_code)
        if setting.price_list is None:
            by_id = command.price_list_id is not None
            text = (
                ids.format_id(Prefix.PRICE_LIST, command.price_list_id)
                if command.price_list_id is not None
                else str(command.price_list_code)
            )
            at = ("priceListId" if by_id else "priceListCode",)
            message = f"There is no price list {text} that you may see."
            setting.errors.append(NotFound(message=message, field=at, id=text))


async def _find_products(session: Session, settings: Sequence[_Setting]) -> None:
    named = [setting.command for setting in settings if not setting.errors]
    rows = await session.execute(
        sa.select(Product.id, Product.sku).where(
            sa.or_(
                Product.id.in_({c.product_id for c in named if c.product_id is not None}),
                Product.sku.in_({c.sku for c in named if c.sku is not None}),
            )
        )
    )
    found: dict[Any, UUID] = {}
    for row in rows:
        found[row.id] = found[row.sku] = row.id
    for setting in settings:
        if setting.errors:
            continue
        command = setting.command
        setting.product_id = found.get(command.product_id or command.sku)
        if setting.product_id is None:
            text = (
                ids.format_id(Prefix.PRODUCT, command.product_id)
                if command.product_id is not None
                else str(command.sku)
            )
            at = ("productId" if command.product_id is not None else "sku",)
            setting.errors.append(NotFound(message=f"There is no product {text}.", field=at, id=text))


async def _find_prices(session: Session, settings: Sequence[_Setting]) -> None:
    sound = [setting for setting in settings if not setting.errors]
    prices = Price.metadata.tables["price"]
    statement = sa.select(prices).where(
        prices.c.price_list_id.in_({setting.key[0] for setting in sound}),
        prices.c.product_id.in_({setting.product_id for setting in sound}),
    )
    rows: Sequence[Row[Any]] = (await session.execute(statement)).all()
    found = {(row.price_list_id, row.product_id, row.minimum_quantity): row for row in rows}
    for setting in sound:
        setting.before = found.get(setting.key)
        if setting.amount is not None:
            setting.id = setting.before.id if setting.before is not None else new_id()


def _refuse(settings: Sequence[_Setting], actor: Principal) -> None:
    seen: dict[object, int] = {}
    for index, setting in enumerate(settings):
        if setting.errors or setting.price_list is None:
            continue
        price, listed = setting.command.price, setting.price_list
        if price is not None and price.currency != listed.currency:
            message = f"The prices of this list are in {listed.currency}, not {price.currency}."
            at = ("price", "currencyCode")
            setting.errors.append(InvalidInput(message=message, field=at))
        bounded = actor.channels is not None and listed.channel_id not in actor.channels
        if bounded or actor.locations is not None:
            message = "Your access, which is bounded, may not write prices of this list."
            setting.errors.append(InvalidInput(message=message, field=("priceListCode",)))
        earlier = seen.setdefault(setting.key, index)
        if earlier != index:
            message = f"Item {earlier} of this batch sets the same price."
            setting.errors.append(InvalidInput(message=message))


async def _store(session: Session, writing: Sequence[_Setting], now: datetime) -> None:
    if gone := [s.before.id for s in writing if s.before is not None and s.amount is None]:
        await session.execute(sa.delete(Price).where(Price.id.in_(gone)))
    rows = [
        {
            "id": setting.id,
            "price_list_id": setting.key[0],
            "product_id": setting.product_id,
            "minimum_quantity": setting.command.minimum_quantity,
            "amount": setting.amount,
            "updated_at": now,
        }
        for setting in writing
        if setting.amount is not None
    ]
    if rows:
        statement = insert(Price)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["price_list_id", "product_id", "minimum_quantity"],
                set_={"amount": statement.excluded.amount, "updated_at": statement.excluded.updated_at},
            ),
            rows,
        )


async def _tell(
    session: Session, writing: Sequence[_Setting], *, actor: Principal, now: datetime, origin: Origin
) -> None:
    """One event a price, numbered by its list."""
    by_list: dict[UUID, list[_Setting]] = {}
    for setting in writing:
        assert setting.price_list is not None  # noqa: S101 - only found ones are written
        by_list.setdefault(setting.price_list.id, []).append(setting)
    rows: list[dict[str, Any]] = []
    for list_id, settings in by_list.items():
        listed = settings[0].price_list
        assert listed is not None  # noqa: S101 - as above
        told = [
            Event(
                type=EventType.PRICE_LIST_UPDATED,
                subject_kind=AggregateKind.PRICE_LIST,
                subject_id=list_id,
                product_id=setting.product_id,
                details={
                    "minimumQuantity": setting.command.minimum_quantity,
                    "amount": setting.amount,
                    "before": setting.before.amount if setting.before is not None else None,
                    "currency": listed.currency,
                },
            )
            for setting in settings
        ]
        aggregate = events.Aggregate(
            kind=AggregateKind.PRICE_LIST, id=list_id, version=listed.version, channel_id=listed.channel_id
        )
        rows += events.rows(aggregate, told, actor=actor.account, now=now, origin=origin)
        await session.execute(
            sa.update(PriceList)
            .where(PriceList.id == list_id)
            .values(version=listed.version + len(told), updated_at=now)
        )
    if rows:
        await session.execute(sa.insert(Outbox), rows)
