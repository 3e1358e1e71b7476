"""Opening balances from files: the first row of a stock level's ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from db.engine import Session
from db.locations import Location
from db.products import Product
from db.stock import StockLevel, StockMovement
from domain.imports import RecordOutcome
from domain.orders import Origin
from domain.stock import MAX_QUANTITY, MovementKind, StockOwner
from domain.stock_commands import ReceiveStock, StockPlace
from services.imports.outcomes import CREATED, UNCHANGED, Target, refused, rejected
from services.imports.reading import Record
from services.stock_intake import receive_all


async def import_stock(
    session: Session, target: Target, records: Sequence[Record]
) -> dict[int, RecordOutcome]:
    """Post each opening balance unless the level has one already; the outcomes are by record number.

    A level whose ledger began otherwise keeps it: what the file says of it would be
    counted twice, so it is rejected.
    """
    outcomes: dict[int, RecordOutcome] = {}
    ledgers = await _ledgers(session, target, records)
    posting: list[tuple[Record, ReceiveStock]] = []
    seen: set[tuple[str, str]] = set()
    for record in records:
        sku, quantity = record.values.get("sku"), record.values.get("quantity")
        code = record.values.get("location", target.location_code)
        if sku is None or quantity is None or code is None:
            outcomes[record.number] = rejected("it needs a SKU, a location and a quantity")
        elif not 0 <= quantity <= MAX_QUANTITY:
            outcomes[record.number] = rejected(f"quantity: {quantity} units cannot lie anywhere")
        elif (sku, code) in seen:
            outcomes[record.number] = rejected(f"the file names {sku} at {code} twice")
        elif (begun := ledgers.get((sku, code))) is not None:
            outcomes[record.number] = _begun(begun, quantity)
        elif quantity == 0:
            outcomes[record.number] = UNCHANGED
        else:
            seen.add((sku, code))
            command = ReceiveStock(
                place=StockPlace(sku=sku, location_code=code),
                quantity=quantity,
                reference=record.values.get("reference"),
            )
            posting.append((record, command))
    answers = await receive_all(
        session,
        [command for _, command in posting],
        actor=target.actor,
        now=target.now,
        kind=MovementKind.OPENING_BALANCE,
        origin=Origin.IMPORTED,
    )
    for (record, _), answer in zip(posting, answers, strict=True):
        outcomes[record.number] = refused(answer.errors) if answer.errors else CREATED
    return outcomes


def _begun(kind: str, quantity: int) -> RecordOutcome:
    if kind == MovementKind.OPENING_BALANCE or quantity == 0:
        return UNCHANGED
    return rejected("its ledger has begun already; send a count with stockAdjust instead")


async def _ledgers(session: Session, target: Target, records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """What each level's ledger began with, by SKU and location code; none for an empty ledger."""
    skus = {record.values["sku"] for record in records if "sku" in record.values}
    codes = {record.values.get("location", target.location_code) for record in records}
    first: Any = (
        sa.select(StockMovement.kind)
        .where(StockMovement.stock_level_id == StockLevel.id)
        .order_by(StockMovement.id)
        .limit(1)
        .scalar_subquery()
    )
    rows = await session.execute(
        sa.select(Product.sku, Location.code, first.label("kind"))
        .select_from(StockLevel)
        .join(Product, Product.id == StockLevel.product_id)
        .join(Location, Location.id == StockLevel.location_id)
        .where(
            Product.sku.in_(skus),
            Location.code.in_({code for code in codes if code is not None}),
            StockLevel.owner == StockOwner.OWN,
        )
    )
    return {(row.sku, row.code): row.kind for row in rows if row.kind is not None}
