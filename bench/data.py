"""The data that is measured on: any number of orders of three lines, the same every time.

Made by set-based SQL in seconds, because growth is measured up to a million orders.
The other peers' tables (`oms.sql`) hold as many, of the same lengths.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

CHANNELS = 8
CUSTOMERS = 20_000
PRODUCTS = 3_000
LINES = 3

_ID = "('01900000-0000-7{kind}00-8000-' || lpad(to_hex({n}), 12, '0'))::uuid"

FILL = f"""
insert into channel (id, code, name, kind, currency, pricing_authority, collected_by, release_gate)
select {_ID.format(kind="a", n="n")}, 'channel-' || n, 'Channel ' || n, 'ECOMMERCE', 'EUR', 'PARTNER', 'MERCHANT',
       'AUTHORIZED'
from generate_series(1, {CHANNELS}) n;

insert into customer (id, name, email)
select {_ID.format(kind="b", n="n")}, 'Customer ' || n, 'c' || n || '@example.com'
from generate_series(1, {CUSTOMERS}) n;

insert into product (id, sku, name)
select {_ID.format(kind="c", n="n")}, 'SKU-' || n, 'Product ' || n from generate_series(1, {PRODUCTS}) n;

insert into orders (id, channel_id, number, status, payment_status, fulfillment_status, return_status, origin,
                    customer_id, email, release_gate, collected_by, currency, subtotal, original_total,
                    current_total, received_total, placed_at, created_at, updated_at)
select {_ID.format(kind="d", n="n")}, {_ID.format(kind="a", n=f"1 + n % {CHANNELS}")}, 'O' || n,
       case when n % 50 = 0 then 'CANCELLED' when n > orders_wanted - 2000 then 'PROCESSING' else 'COMPLETED' end,
       case when n % 50 = 0 then 'UNPAID' else 'PAID' end,
       case when n % 50 = 0 then 'CANCELLED' when n > orders_wanted - 2000 then 'UNFULFILLED' else 'FULFILLED' end,
       'NONE', 'IMPORTED', {_ID.format(kind="b", n=f"1 + (n::bigint * 7919) % {CUSTOMERS}")}, null,
       'AUTHORIZED', 'MERCHANT', 'EUR', 0, 0, 0, 0, at, at, at
from (select n, orders_wanted,
             timestamptz '2026-01-01' - (orders_wanted - n) * interval '1 minute' as at
      from (select $1::int as orders_wanted) wanted, generate_series(1, $1::int) n) numbered;

insert into order_line (id, order_id, line_number, product_id, sku, name, quantity, quantity_fulfilled, currency,
                        unit_price, net_total, gross_total)
select {_ID.format(kind="e", n=f"n * {LINES} + l")}, {_ID.format(kind="d", n="n")}, l,
       {_ID.format(kind="c", n="p")}, 'SKU-' || p, 'Product ' || p, q, 0, 'EUR', price, q * price, q * price
from (select n, l, 1 + (n * 31 + l * 977) % {PRODUCTS} as p, 1 + l % 3 as q,
             (500 + (n * 31 + l * 977) % 9500)::bigint as price
      from generate_series(1, $1::int) n, generate_series(1, {LINES}) l) made;

update orders o set subtotal = s.total, original_total = s.total, current_total = s.total, received_total = s.total
from (select order_id, sum(net_total) as total from order_line group by order_id) s where s.order_id = o.id;
"""


def identifier(kind: str, number: int) -> UUID:
    """The id of the `number`th row: kind a channel, b customer, c product, d order, e line."""
    return UUID(_ID.split("'")[1].format(kind=kind) + f"{number:012x}")


FILLED = "filled by oms bench"
"""The last thing that is done: a table without it was left half-way, and answers slowly."""


async def filled(dsn: str, orders: int) -> bool:
    """Whether the database holds exactly this data, and making it came to its end."""
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("select to_regclass('orders')") is None:
            return False
        if await connection.fetchval("select obj_description('orders'::regclass, 'pg_class')") != FILLED:
            return False
        found: int = await connection.fetchval("select count(*) from orders")
        return found == orders
    finally:
        await connection.close()


async def fill(dsn: str, orders: int) -> None:
    """Fill a migrated, empty database."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "set session_replication_role = replica"
        )  # foreign keys hold by construction
        for statement in FILL.split(";\n"):
            if statement.strip():
                await connection.execute(*((statement, orders) if "$1" in statement else (statement,)))
        await connection.execute("vacuum (freeze, analyze)")
        await connection.execute(f"comment on table orders is '{FILLED}'")
        await connection.execute("checkpoint")
    finally:
        await connection.close()
