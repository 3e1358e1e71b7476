"""Products and their prices from files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db.engine import Session
from domain.imports import RecordOutcome
from domain.money import Money
from domain.orders import Origin
from domain.prices import SetPrice
from domain.products import UpsertProduct
from domain.upserts import ABSENT, ExternalName
from services.imports.outcomes import CHANGED, UNCHANGED, Target, of_item, part_of, refused, rounds
from services.imports.reading import Record
from services.master_data import upsert
from services.master_items import Item
from services.prices import set_prices
from services.products import PRODUCT


async def import_products(
    session: Session, target: Target, records: Sequence[Record]
) -> dict[int, RecordOutcome]:
    """Make or change the products, then their prices; the outcomes are by record number."""
    outcomes: dict[int, RecordOutcome] = {}
    for part in rounds(records, "sku", "external_id"):

        def tell(item: Item, part: list[Record] = part) -> None:
            outcomes[part[item.index].number] = of_item(item)

        await upsert(
            session,
            PRODUCT,
            [_product(target, record) for record in part],
            actor=target.actor,
            now=target.now,
            origin=Origin.IMPORTED,
            tell=tell,
        )
        await _import_prices(session, target, part, outcomes)
    return outcomes


def _product(target: Target, record: Record) -> UpsertProduct:
    values: dict[str, Any] = record.values
    metadata = part_of(values, "metadata")
    name = values.get("external_id")
    return UpsertProduct(
        external_ids=() if name is None else (ExternalName(system=target.system, id=name),),
        metadata_=metadata or ABSENT,
        **{
            field: values.get(field, ABSENT)
            for field in (
                "sku",
                "name",
                "description",
                "barcode",
                "tax_class",
                "weight_grams",
                "backorderable",
                "active",
            )
        },
    )


async def _import_prices(
    session: Session, target: Target, records: Sequence[Record], outcomes: dict[int, RecordOutcome]
) -> None:
    priced = [record for record in records if "price" in record.values and not outcomes[record.number].reason]
    if not priced or target.price_list_code is None or target.currency is None:
        return

    changed: set[int] = set()
    answers = await set_prices(
        session,
        [
            SetPrice(
                price_list_code=target.price_list_code,
                sku=record.values["sku"],
                price=Money(record.values["price"], target.currency),
            )
            for record in priced
        ],
        actor=target.actor,
        now=target.now,
        origin=Origin.IMPORTED,
        tell=changed.add,
    )
    for index, (record, answer) in enumerate(zip(priced, answers, strict=True)):
        if answer.errors:
            outcomes[record.number] = refused(answer.errors)
        elif index in changed and outcomes[record.number] == UNCHANGED:
            outcomes[record.number] = CHANGED
