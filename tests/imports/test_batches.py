"""Batches of orders that are written while those before them are: what comes of it is what the file's order says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.orders import Order, OrderLine
from domain.imports import ImportKind
from services.imports import running
from tests.imports.test_imports import ORDERS, Folder, products
from tests.invariants import assert_invariants

NUMBERED = ORDERS.replace('external_id = "id"', 'external_id = "id"\nnumber = "number"\ncarrier = "carrier"')
HEADING = "id,number,carrier,date,shipped,delivered,cancelled,tracking,freight"


@pytest.fixture
async def folder(engine: AsyncEngine, tmp_path: Path) -> Folder:
    folder = Folder(engine, tmp_path)
    await products(folder)
    return folder


def orders_of(folder: Folder, *orders: tuple[str, str, str]) -> str:
    """Orders of two lines each, which have left: their ids, numbers and carriers."""
    lines = [
        f"{name},A,2,1.50,\n{name},B,1,2.00,0.50" for name in dict.fromkeys(order[0] for order in orders)
    ]
    folder.write("lines.csv", "\n".join(["order,sku,units,price,off", *lines]) + "\n")
    rows = [f"{','.join(order)},01.03.2024,02.03.2024,,,T1," for order in orders]
    return "\n".join([HEADING, *rows]) + "\n"


async def numbers(folder: Folder) -> list[str]:
    return [number for (number,) in await folder.rows(sa.select(Order.number).order_by(Order.number))]


@pytest.mark.parametrize("batch_size", [1, 2, 500])
async def test_of_two_orders_with_one_number_the_first_in_the_file_is_taken(
    folder: Folder, batch_size: int
) -> None:
    text = orders_of(
        folder, ("1", "N1", ""), ("2", "N1", ""), ("3", "N3", ""), ("4", "N3", ""), ("5", "", "")
    )
    done = await folder.run(ImportKind.ORDERS, NUMBERED, text, batch_size=batch_size)
    assert (done.created, done.rejected) == (3, 2)
    assert [record for record, _ in folder.rejected()] == ["2", "4"]
    assert {reason[:31] for _, reason in folder.rejected()} == {"number: the channel has an orde"}
    assert (await numbers(folder))[-2:] == ["N1", "N3"]
    await assert_invariants(folder.engine)


async def test_an_order_that_an_earlier_batch_has_taken_stays_as_it_is(folder: Folder) -> None:
    text = orders_of(folder, ("1", "N1", ""), ("2", "N2", ""), ("1", "N3", ""), ("3", "N4", ""))
    done = await folder.run(ImportKind.ORDERS, NUMBERED, text, batch_size=2)
    assert (done.created, done.unchanged, done.rejected) == (3, 1, 0)
    assert await numbers(folder) == ["N1", "N2", "N4"]


async def test_nothing_stays_of_a_batch_whose_forerunner_fails(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = orders_of(folder, *((f"{n}", f"N{n:02}", "") for n in range(20)))
    orders, apart = running.IMPORTERS[ImportKind.ORDERS], running.write_apart
    begun: list[Any] = []
    ahead = asyncio.Event()

    async def cut(*arguments: Any) -> Any:
        begun.append(arguments)
        outcomes = await orders(*arguments)
        if len(begun) == 4:
            await ahead.wait()  # the next batch's rows are written by then
            raise ZeroDivisionError
        return outcomes

    async def note(session: Any, target: Any, understood: Any) -> Any:
        left = await apart(session, target, understood)
        # The fifth batch, which may be done before the fourth has begun.
        if understood.orders[0].number == "N12":
            ahead.set()
        return left

    monkeypatch.setitem(running.IMPORTERS, ImportKind.ORDERS, cut)
    monkeypatch.setattr(running, "write_apart", note)
    with pytest.raises(ZeroDivisionError):
        await folder.run(ImportKind.ORDERS, NUMBERED, text, batch_size=3)
    assert await numbers(folder) == [f"N{n:02}" for n in range(9)]
    await assert_invariants(folder.engine)
    monkeypatch.undo()
    done = await folder.run(ImportKind.ORDERS, NUMBERED, text, batch_size=3)
    assert (done.resumed_at, done.created) == (9, 20)
    assert await folder.rows(sa.select(sa.func.count(), sa.func.sum(OrderLine.net_total))) == [(40, 9000)]
    await assert_invariants(folder.engine)


async def test_a_carrier_that_no_database_stores_rejects_its_order_alone(folder: Folder) -> None:
    text = orders_of(folder, ("1", "N1", "D\0HL"), ("2", "N2", "x" * 65), ("3", "N3", "DHL"))
    done = await folder.run(ImportKind.ORDERS, NUMBERED, text)
    assert (done.created, done.rejected) == (1, 2)
    assert {reason[:9] for _, reason in folder.rejected()} == {"carrier: "}


async def test_a_name_that_no_database_stores_rejects_its_order_alone(folder: Folder) -> None:
    text = orders_of(folder, ("1\0", "N1", "DHL"), ("2", "N2", "DHL"))
    done = await folder.run(ImportKind.ORDERS, NUMBERED, text)
    assert (done.created, done.rejected) == (1, 1)
    assert {reason for _, reason in folder.rejected()} == {
        "external_id: it must not hold the control character U+0000."
    }
    assert await numbers(folder) == ["N2"]
