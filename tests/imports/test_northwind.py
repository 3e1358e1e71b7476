"""The Northwind files, imported by the maps of the documentation, to the cent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.customers import Company, Customer
from db.imports import ImportRun
from db.orders import Order, OrderLine
from db.stock import StockMovement
from domain.imports import ImportKind
from services.imports import running
from services.imports.running import Progress, run_import
from tests.invariants import assert_invariants

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "northwind"
MAPS = ROOT / "docs" / "imports" / "northwind"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the Northwind files are not beside this checkout (../shared/data/northwind)"
)

STEPS = (
    (ImportKind.CUSTOMERS, "customers.csv"),
    (ImportKind.PRODUCTS, "products.csv"),
    (ImportKind.STOCK, "products.csv"),
    (ImportKind.ORDERS, "orders.csv"),
)


class Cut(Exception):
    """The process ends here."""


async def import_all(engine: AsyncEngine, rejects: Path, batch_size: int = 250) -> list[Progress]:
    return [
        await run_import(
            engine,
            kind,
            DATA / file,
            MAPS / f"{kind.lower()}.toml",
            rejects=rejects / f"{kind}.csv",
            batch_size=batch_size,
        )
        for kind, file in STEPS
    ]


async def one(engine: AsyncEngine, statement: sa.Select[Any]) -> tuple[Any, ...]:
    async with engine.connect() as connection:
        return tuple((await connection.execute(statement)).one())


async def figures(engine: AsyncEngine) -> dict[str, Any]:
    count = sa.func.count()
    return {
        "orders": await one(
            engine,
            sa.select(
                count,
                sa.func.sum(Order.subtotal),
                sa.func.sum(Order.shipping_total),
                sa.func.sum(Order.received_total),
                count.filter(Order.sales_representative.is_not(None)),
            ).where(Order.currency == "USD"),
        ),
        "lines": await one(engine, sa.select(count, sa.func.sum(OrderLine.net_total))),
        "statuses": await statuses(engine),
        "customers": await one(engine, sa.select(count).select_from(Customer)),
        "companies": await one(engine, sa.select(count).select_from(Company)),
        "events": await one(engine, sa.text("select count(*) from event")),  # type: ignore[arg-type]
        "stock": await one(
            engine, sa.select(count, sa.func.sum(StockMovement.quantity)).select_from(StockMovement)
        ),
    }


async def statuses(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            sa.select(Order.status, sa.func.count()).group_by(Order.status).order_by(Order.status)
        )
        return {str(status): number for status, number in rows}


async def test_northwind_lands_to_the_cent(engine: AsyncEngine, tmp_path: Path) -> None:
    done = await import_all(engine, tmp_path)
    assert [progress.created for progress in done] == [91, 77, 72, 830]
    assert [progress.rejected for progress in done] == [0, 0, 0, 0]
    found = await figures(engine)
    assert found["orders"] == (830, 126_579_329, 6_494_269, 126_579_329 + 6_494_269, 830)
    assert found["lines"] == (2155, 126_579_329)
    assert found["statuses"] == {"COMPLETED": 809, "CONFIRMED": 21}
    assert found["stock"] == (72, 3119)
    await assert_invariants(engine)


async def test_a_second_import_changes_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_all(engine, tmp_path)
    before = await figures(engine)
    again = await import_all(engine, tmp_path)
    assert [(p.created, p.changed, p.unchanged, p.rejected) for p in again] == [
        (0, 0, 91, 0),
        (0, 0, 77, 0),
        (0, 0, 77, 0),
        (0, 0, 830, 0),
    ]
    assert await figures(engine) == before


async def test_an_import_that_was_cut_goes_on_where_it_stopped(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = running.IMPORTERS[ImportKind.ORDERS]
    batches = []

    async def cut(*arguments: Any) -> Any:
        batches.append(arguments)
        outcomes = await orders(*arguments)
        if len(batches) == 4:
            raise Cut
        return outcomes

    monkeypatch.setitem(running.IMPORTERS, ImportKind.ORDERS, cut)
    with pytest.raises(Cut):
        await import_all(engine, tmp_path, batch_size=100)
    assert (await figures(engine))["orders"][0] == 300
    await assert_invariants(engine)
    monkeypatch.undo()
    progress = (await import_all(engine, tmp_path, batch_size=100))[-1]
    assert (progress.resumed_at, progress.position, progress.created) == (300, 830, 830)
    assert (await figures(engine))["lines"] == (2155, 126_579_329)
    assert await one(engine, sa.select(sa.func.count()).where(ImportRun.status == "RUNNING")) == (0,)
    await assert_invariants(engine)


async def test_open_orders_are_allocated_as_far_as_stock_goes(engine: AsyncEngine, tmp_path: Path) -> None:
    await import_all(engine, tmp_path)
    line = OrderLine
    units = await one(
        engine,
        sa.select(
            sa.func.sum(line.quantity),
            sa.func.sum(line.quantity_allocated + line.quantity_backordered),
            sa.func.sum(line.quantity_backordered),
        )
        .join(Order, Order.id == line.order_id)
        .where(Order.status == "CONFIRMED"),
    )
    assert units[0] == units[1] > units[2] > 0
    overdrawn = sa.text(
        "select count(*) from backorder join stock_level level on level.id = stock_level_id "
        "where level.sellable > level.allocated"
    )
    assert await one(engine, overdrawn) == (0,)  # type: ignore[arg-type] # text has rows as well
