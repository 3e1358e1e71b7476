"""Imports of files that are not as they should be, and of everything the maps can say."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.customers import Company, Customer
from db.orders import Order, OrderLine
from db.products import Price, Product
from db.shipments import Package, Shipment
from db.stock import StockLevel
from domain.imports import ImportKind, MapError
from services.imports.mapping import read_map
from services.imports.running import Progress, run_import
from tests.invariants import assert_invariants

CUSTOMERS = """
kind = "customers"
system = "crm"
[file]
delimiter = ";"
encoding = "latin-1"
empty = ["NULL"]
[fields]
external_id = "id"
name = { template = "{first} {last}" }
email = "mail"
[fields.company]
external_id = "company"
name = "company"
"""
PRODUCTS = """
kind = "products"
system = "erp"
[file]
decimal_mark = ","
[price_list]
code = "list"
currency = "EUR"
[fields]
sku = "sku"
name = "name"
price = "price"
weight_grams = "grams"
"""
STOCK = """
kind = "stock"
[fields]
sku = "sku"
location = "place"
quantity = "units"
"""
ORDERS = """
kind = "orders"
system = "shop"
[channel]
code = "shop"
kind = "ECOMMERCE"
currency = "EUR"
[location]
code = "hall"
[fields]
external_id = "id"
placed_at = { column = "date", format = ["%d.%m.%Y", "%Y-%m-%dT%H:%M:%S%z"], time_zone = "Europe/Berlin" }
shipped_at = { column = "shipped", format = "%d.%m.%Y" }
delivered_at = { column = "delivered", format = "%d.%m.%Y" }
cancelled_at = { column = "cancelled", format = "%d.%m.%Y" }
tracking_number = "tracking"
shipping = "freight"
[lines]
file = "lines.csv"
key = "order"
parent = "id"
[lines.fields]
sku = "sku"
quantity = "units"
unit_price = "price"
discount_amount = "off"
"""


class Folder:
    """Files of one import, in a folder of their own."""

    def __init__(self, engine: AsyncEngine, path: Path) -> None:
        self.engine = engine
        self.path = path

    def write(self, name: str, text: str, encoding: str = "utf-8") -> Path:
        path = self.path / name
        path.write_bytes(text.encode(encoding))
        return path

    async def run(
        self, kind: ImportKind, columns: str, text: str, encoding: str = "utf-8", **options: Any
    ) -> Progress:
        return await run_import(
            self.engine,
            kind,
            self.write("file.csv", text, encoding),
            self.write("map.toml", columns),
            **options,
        )

    def rejected(self) -> list[tuple[str, str]]:
        path = self.path / "file.rejected.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [(row["record"], row["reason"]) for row in csv.DictReader(file)]

    async def rows(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        async with self.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(statement)]


@pytest.fixture
def folder(engine: AsyncEngine, tmp_path: Path) -> Folder:
    return Folder(engine, tmp_path)


async def products(folder: Folder) -> None:
    await folder.run(
        ImportKind.PRODUCTS,
        PRODUCTS,
        'sku,name,price,grams\nA,Apple,"1,50",100\nB,Bread,"2,00",\n',
    )


async def test_customers_of_one_company_and_of_another_alphabet(folder: Folder) -> None:
    done = await folder.run(
        ImportKind.CUSTOMERS,
        CUSTOMERS,
        "id;first;last;mail;company\n1;Jürgen;Ñuñez;j@x.de;ACME\n2;Ann;;NULL;ACME\n3;Bo;Li;b@x;NULL\n",
        encoding="latin-1",
    )
    assert (done.created, done.rejected) == (3, 0)
    assert await folder.rows(
        sa.select(Customer.name, Customer.email, Company.name)
        .outerjoin(Company, Company.id == Customer.company_id)
        .order_by(Customer.name)
    ) == [("Ann", None, "ACME"), ("Bo Li", "b@x", None), ("Jürgen Ñuñez", "j@x.de", "ACME")]
    await assert_invariants(folder.engine)


async def test_what_cannot_be_taken_is_written_aside_with_its_reason(folder: Folder) -> None:
    done = await folder.run(
        ImportKind.PRODUCTS,
        PRODUCTS,
        'sku,name,price,grams\nA,Apple,"1,50",100\nB\nC,,"1,00",\n D,Dill,"1,005",\nE,Egg,1,heavy\n'
        "F,Fig,much,1\nA,Avocado,2,\n",
        batch_size=3,
    )
    assert (done.position, done.created, done.changed, done.rejected) == (7, 1, 1, 5)
    assert folder.rejected() == [
        ("2", "it has 1 cells, the heading 4"),
        ("3", "name: A new one needs it."),
        ("4", "price: '1,005' has more decimals than EUR; allow it with round = true in the map"),
        ("5", "weight_grams: 'heavy' is not a number"),
        ("6", "price: 'much' is not a number"),
    ]
    assert await folder.rows(sa.select(Product.sku, Product.name)) == [("A", "Avocado")]
    assert await folder.rows(sa.select(Price.amount)) == [(200,)]
    await assert_invariants(folder.engine)


async def test_a_record_that_was_mended_is_taken_from_the_rejects(folder: Folder) -> None:
    await folder.run(ImportKind.PRODUCTS, PRODUCTS, 'sku,name,price,grams\nA,Apple,"1,505",100\n')
    mended = (folder.path / "file.rejected.csv").read_text().replace("1,505", "1,50")
    done = await folder.run(ImportKind.PRODUCTS, PRODUCTS, mended)
    assert (done.created, done.rejected) == (1, 0)


async def test_an_opening_balance_begins_a_ledger_and_never_a_second_time(folder: Folder) -> None:
    await products(folder)
    await folder.run(ImportKind.ORDERS, ORDERS, *orders_of(folder))
    text = "sku,place,units\nA,hall,5\nB,hall,0\nA,nowhere,1\nX,hall,1\nA,hall,7\nB,hall,-1\n"
    done = await folder.run(ImportKind.STOCK, STOCK, text)
    assert (done.created, done.unchanged, done.rejected) == (1, 1, 4)
    assert [reason for _, reason in folder.rejected()] == [
        "locationCode: There is no location nowhere that you may see.",
        "sku: There is no product X.",
        "the file names A at hall twice",
        "quantity: -1 units cannot lie anywhere",
    ]
    again = await folder.run(ImportKind.STOCK, STOCK, text)
    assert (again.created, again.unchanged) == (0, 3)
    assert (5,) in await folder.rows(sa.select(StockLevel.sellable))
    await assert_invariants(folder.engine)


def orders_of(folder: Folder, *rows: str) -> tuple[str]:
    folder.write(
        "lines.csv",
        "order,sku,units,price,off\n1,A,2,1.50,0.50\n1,B,1,2.00,\n2,A,1,1.50,\n3,A,1,1.50,\n4,A,3,1.50,\n"
        "5,A,1,1.50,\n6,Z,1,1.50,\n7,A,0,1.50,\n",
    )
    heading = "id,date,shipped,delivered,cancelled,tracking,freight"
    return ("\n".join([heading, *rows]) + "\n",)


async def test_orders_stand_where_their_dates_put_them(folder: Folder) -> None:
    await products(folder)
    done = await folder.run(
        ImportKind.ORDERS,
        ORDERS,
        *orders_of(
            folder,
            "1,01.03.2024,02.03.2024,04.03.2024,,T1,4.90",
            "2,2024-03-01T10:00:00+02:00,02.03.2024,,,,",
            "3,01.03.2024,,,02.03.2024,,",
            "4,01.03.2024,,,,,1.00",
            "5,yesterday,,,,,",
            "6,01.03.2024,,,,,",
            "7,01.03.2024,,,,,",
            "8,01.03.2024,,,,,",
            "1,01.03.2024,,,,,",
        ),
    )
    assert (done.created, done.rejected) == (4, 5)
    assert [reason for _, reason in folder.rejected()] == [
        "placed_at: 'yesterday' is not a date like %d.%m.%Y or %Y-%m-%dT%H:%M:%S%z",
        "there is no product with the SKU Z",
        "lines.0.quantity: A quantity is between 1 and 1000000 units.",
        "it has no lines",
        "the file names the order 1 twice",
    ]
    assert await folder.rows(
        sa.select(
            Order.status,
            Order.payment_status,
            Order.fulfillment_status,
            Order.original_total,
            Order.current_total,
            Order.received_total,
        ).order_by(Order.id)
    ) == [
        ("COMPLETED", "PAID", "FULFILLED", 940, 940, 940),
        ("COMPLETED", "PAID", "FULFILLED", 150, 150, 150),
        ("CANCELLED", "PAID", "CANCELLED", 150, 0, 0),
        ("CONFIRMED", "PAID", "UNFULFILLED", 550, 550, 550),
    ]
    assert await folder.rows(sa.select(Package.tracking_number, Package.delivery_status)) == [
        ("T1", "DELIVERED"),
        (None, None),
    ]
    [(shipped,)] = await folder.rows(sa.select(Shipment.shipped_at).limit(1))
    assert shipped.isoformat() == "2024-03-02T00:00:00+00:00"
    [(placed,)] = await folder.rows(sa.select(Order.placed_at).order_by(Order.id).limit(1))
    assert placed.isoformat() == "2024-02-29T23:00:00+00:00"
    [(backordered,)] = await folder.rows(
        sa.select(OrderLine.quantity_backordered).where(OrderLine.quantity_backordered > 0)
    )
    assert backordered == 3
    await assert_invariants(folder.engine)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("kind =", "kund ="), "which means nothing"),
        (('"products"', '"orders"'), "the map is for 'orders'"),
        (('sku = "sku"', 'sku = "SKU"'), "file.csv has no column SKU"),
        (('sku = "sku"', 'colour = "sku"'), "no field 'colour'"),
        (('sku = "sku"\n', ""), "needs sku"),
        (('currency = "EUR"', 'currency = "EURO"'), "not a currency"),
        (('currency = "EUR"\n', ""), "in which currency"),
        (('price = "price"', 'price = { colunm = "price" }'), "no field 'price.colunm'"),
        (('name = "name"', 'name = { template = "{" }'), "broken"),
        (('name = "name"', 'name = { template = "{}" }'), "empty braces"),
        (
            ('name = "name"', 'name = { column = "name", constant = "x" }'),
            "one of column, template and constant",
        ),
        (('name = "name"', 'name = { lookup = "x", column = "a", template = "b" }'), "[lookups.x]"),
        (("[fields]", "[fields"), "is not TOML"),
    ],
)
async def test_a_map_that_is_wrong_is_answered_with_what_to_write(
    folder: Folder, changed: tuple[str, str], message: str
) -> None:
    with pytest.raises(MapError, match=message.replace("[", r"\[")):
        await folder.run(ImportKind.PRODUCTS, PRODUCTS.replace(*changed), "sku,name,price,grams\nA,A,1,1\n")
    assert await folder.rows(sa.select(Product.id)) == []


def test_every_map_of_the_documentation_is_one() -> None:
    maps = Path(__file__).parents[2] / "docs" / "imports" / "northwind"
    for kind in ImportKind:
        assert read_map(maps / f"{kind.lower()}.toml", kind).kind is kind
