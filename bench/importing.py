"""`oms bench import`: files of orders, taken by `oms import` as people run it.

Each round imports another file into the same database, beside what is there already; more than half
of what an order costs is the database's, so both processes' time is told. Nothing else
writes meanwhile, and no relay runs: a server that does has its own share of the machine.
"""

from __future__ import annotations

import asyncio
import csv
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from app.postgres import EmbeddedPostgres
from bench import cpu, databases, places
from bench.data import PRODUCTS
from bench.report import Report, Target
from db.engine import asyncpg_dsn

Progress = Callable[[str], None]

LINES = 3
CUSTOMERS = 2_000
LINES_PER_SECOND_BAR = 5_000

_CHANNEL = """
[channel]
code = "imported"
name = "Orders of another system"
kind = "ECOMMERCE"
currency = "EUR"

[location]
code = "location-1"
"""
MAPS = {
    "customers": """
kind = "customers"
system = "old-shop"

[fields]
external_id = "id"
name = "name"
email = "email"
""",
    "orders": f"""
kind = "orders"
system = "old-shop"
{_CHANNEL}
[fields]
external_id = "id"
number = "id"
customer = "customer"
placed_at = {{ column = "placed", format = "%Y-%m-%d %H:%M:%S", time_zone = "Europe/Berlin" }}
shipped_at = {{ column = "shipped", format = "%Y-%m-%d", time_zone = "Europe/Berlin" }}
delivered_at = {{ column = "delivered", format = "%Y-%m-%d", time_zone = "Europe/Berlin" }}
cancelled_at = {{ column = "cancelled", format = "%Y-%m-%d", time_zone = "Europe/Berlin" }}
carrier = "carrier"
tracking_number = "tracking"
shipping = "freight"

[fields.shipping_address]
name = "name"
line1 = "street"
city = "city"
postal_code = "postcode"
country_code = "country"

[fields.metadata]
oldId = "id"

[lines]
file = "lines.csv"
key = "order"
parent = "id"

[lines.fields]
sku = "sku"
quantity = "units"
unit_price = "price"
discount = "discount"
""",
}
HEADING = (
    *("id", "customer", "placed", "shipped", "delivered", "cancelled", "carrier", "tracking"),
    *("freight", "name", "street", "city", "postcode", "country"),
)


@dataclass(frozen=True, slots=True)
class Imported:
    """One import: its seconds, and what it took of a core of the command's process and of the database's."""

    wall: float
    command: float
    database: float


async def run(directory: Path, *, orders: int, rounds: int, lines: int, progress: Progress) -> Report:
    """The whole benchmark, on an embedded PostgreSQL in `directory`."""
    report = Report()
    with EmbeddedPostgres(directory) as postgres, tempfile.TemporaryDirectory(prefix="oms-bench-") as made:
        progress(f"making a database of {orders:,} orders")
        await databases.shop(postgres, orders)
        url = await databases.copy(postgres, f"bench_{orders}", "bench_import")
        await places.stock(asyncpg_dsn(url))
        report.versions["postgresql"] = await databases.version(asyncpg_dsn(url))
        postmaster = int((postgres.directory / "pgdata" / "postmaster.pid").read_text().split()[0])
        folder = Path(made)
        for kind, text in MAPS.items():
            (folder / f"{kind}.toml").write_text(text)
        _write_customers(folder / "customers.csv")
        await _import(url, postmaster, "customers", folder)
        fresh, again = [], []
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            _write_orders(folder, f"{number}", lines // LINES)
            fresh.append(await _import(url, postmaster, "orders", folder))
            again.append(await _import(url, postmaster, "orders", folder))
        await _check(asyncpg_dsn(url), rounds * (lines // LINES))
        _judge(report, fresh, again, lines // LINES * LINES)
    return report


async def _import(url: str, postmaster: int, kind: str, folder: Path) -> Imported:
    """Run the command to its end. RuntimeError when it fails or rejects anything."""
    before, database = resource.getrusage(resource.RUSAGE_CHILDREN), cpu.of_children(postmaster)
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "oms"), "import", kind, str(folder / f"{kind}.csv")),
        *("--map", str(folder / f"{kind}.toml")),
        env={**os.environ, "OMS_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    wall = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"oms import {kind} failed: {said.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Imported(
        wall=wall,
        command=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        database=cpu.of_children(postmaster) - database,
    )


def _write(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)


def _write_customers(path: Path) -> None:
    numbers = range(1, CUSTOMERS + 1)
    _write(path, ("id", "name", "email"), ((n, f"Customer {n}", f"c{n}@example.com") for n in numbers))


def _write_orders(folder: Path, name: str, count: int) -> None:
    """Three years of orders: nine in ten were delivered, of the others some are on their way, some open."""
    chance = random.Random(name)  # noqa: S311 - which orders there were is no secret
    begun = datetime(2023, 1, 1, tzinfo=UTC)
    orders, lines = [], []
    for number in range(count):
        order = f"{name}-{number}"
        placed = begun + timedelta(minutes=number * 3 * 365 * 24 * 60 / count)
        days = [(placed + timedelta(days=more)).date() for more in (1, 3)]
        customer = chance.randint(1, CUSTOMERS)
        fates = {0: ("", "", days[0]), 1: ("", "", ""), 2: (days[0], "", "")}
        shipped, delivered, cancelled = fates.get(number % 30, (*days, ""))
        orders.append(
            (
                *(order, customer, f"{placed:%Y-%m-%d %H:%M:%S}", shipped, delivered, cancelled),
                *(("DHL", f"JD{number:014}") if shipped else ("", "")),
                "4.90" if number % 2 else "",
                *(
                    f"Customer {customer}",
                    f"Street {number % 200}",
                    "Berlin",
                    f"{10_000 + number % 4000}",
                    "DE",
                ),
            )
        )
        for index, product in enumerate(chance.sample(range(1, PRODUCTS + 1), LINES)):
            price = places.price(product) / 100
            lines.append((order, f"SKU-{product}", 1 + index, f"{price:.2f}", "" if index else "0.1"))
    _write(folder / "orders.csv", HEADING, orders)
    _write(folder / "lines.csv", ("order", "sku", "units", "price", "discount"), lines)


async def _check(dsn: str, orders: int) -> None:
    """RuntimeError unless every order is there, once."""
    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetchval(
            "select count(*) from orders join channel on channel.id = channel_id where channel.code = 'imported'"
        )
    finally:
        await connection.close()
    if found != orders:
        raise RuntimeError(f"{found} orders are there of {orders}")


def _judge(report: Report, fresh: Sequence[Imported], again: Sequence[Imported], lines: int) -> None:
    median = statistics.median
    report.figures |= {
        "lines": lines,
        "import_seconds": median(one.wall for one in fresh),
        "import_command_cpu_us_per_line": median(one.command for one in fresh) * 1e6 / lines,
        "import_database_cpu_us_per_line": median(one.database for one in fresh) * 1e6 / lines,
        "unchanged_lines_per_second": lines / median(one.wall for one in again),
    }
    per_second = lines / median(one.wall for one in fresh)
    report.targets.append(Target("import_lines_per_second", per_second, LINES_PER_SECOND_BAR))
