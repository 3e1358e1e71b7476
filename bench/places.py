"""Orders to be placed: the shop's stock, and requests that each place another order of three lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson

from app.auth import development_token
from bench.data import CHANNELS, CUSTOMERS, PRODUCTS, identifier
from bench.load import Request
from domain.access import ALL_SCOPES, Principal, PrincipalKind, Scope

LINES = 3
LOCATIONS = 2
STOCK = 1_000_000
"""Of each SKU at each location: more than a run can sell."""

PARTNERS = 64
"""How many partners place orders: so many that no limit of one of them binds."""

SCOPES = ALL_SCOPES - {Scope.METADATA_PRIVATE, Scope.COSTS_READ, Scope.CHANNELS_WRITE}

PLACE = (
    "mutation Place($input: OrderPlaceInput!, $key: String!) { orderPlace(input: $input, idempotencyKey: $key) "
    "{ order { id number } userErrors { code message } } }"
)
PEER_PLACE = (
    "mutation Place($c: Int!, $l: [LineInput!]!) { placeOrder(customerId: $c, lines: $l) { id code } }"
)

_STOCK = f"""
insert into location (id, code, name, kind)
select format('01900000-0000-7f00-8000-%s', lpad(to_hex(n), 12, '0'))::uuid, 'location-' || n, 'Location ' || n,
       'WAREHOUSE'
from generate_series(1, {LOCATIONS}) n;

insert into channel_location (channel_id, location_id, rank)
select c.id, l.id, row_number() over (partition by c.id order by l.id) from channel c, location l;

insert into stock_level (id, product_id, location_id, sellable)
select gen_random_uuid(), p.id, l.id, {STOCK} from product p, location l;

insert into stock_movement (id, stock_level_id, product_id, location_id, bucket, quantity, kind, actor, occurred_at)
select gen_random_uuid(), id, product_id, location_id, 'SELLABLE', sellable, 'OPENING_BALANCE', 'system:bench', now()
from stock_level;
"""


async def stock(dsn: str) -> None:
    """Stock every product at every location, and let every channel number its orders."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in _STOCK.strip().removesuffix(";").split(";\n"):
            await connection.execute(statement)
        for channel in range(1, CHANNELS + 1):
            await connection.execute(
                f"create sequence order_number_{identifier('a', channel).hex} start 1000001"
            )
        await connection.execute("vacuum (freeze, analyze) stock_level, stock_movement, location")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


def channel_of(customer_order: int) -> int:
    return 1 + customer_order % CHANNELS


def customer_of(customer_order: int) -> int:
    """Who placed the `customer_order`th order of `bench.data`, so that its partner may see them."""
    return 1 + (customer_order * 7919) % CUSTOMERS


def partner(number: int) -> Principal:
    return Principal(
        kind=PrincipalKind.PARTNER,
        account=f"partner:bench-{number}",
        scopes=SCOPES,
        channels=(identifier("a", channel_of(number)),),
    )


def _lines(chance: random.Random, hot: int | None) -> list[tuple[int, int]]:
    """Three products, each another, with their quantities; the first is `hot` where one is."""
    products = chance.sample(range(2, PRODUCTS + 1), LINES)
    if hot is not None:
        products[0] = hot
    return [(product, 1 + index) for index, product in enumerate(products)]


def price(product: int) -> int:
    return 500 + product % 9500


def order_input(
    chance: random.Random, number: int, *, hot: int | None = None, paid: bool = False
) -> dict[str, Any]:
    """What the API is sent for one order through the channel of partner `number`."""
    # Every order of a customer is of one channel: the customers of a channel are those of its orders.
    customer = customer_of(channel_of(number) - 1 + CHANNELS * chance.randrange(CUSTOMERS // CHANNELS))
    made = {
        "channelId": f"chn_{identifier('a', channel_of(number))}",
        "currencyCode": "EUR",
        "customerId": f"cus_{identifier('b', customer)}",
        "lines": [
            {"sku": f"SKU-{product}", "quantity": quantity, "unitPrice": f"{price(product) / 100:.2f}"}
            for product, quantity in _lines(chance, hot)
        ],
    }
    return {**made, "payment": {"method": "EXTERNAL"}} if paid else made


def requests(secret: str, seed: str, *, hot: int | None = None, paid: bool = False) -> Iterator[Request]:
    """Requests without end, each with a key of its own."""
    chance = random.Random(seed)  # noqa: S311 - which orders are placed is no secret
    tokens = [f"Bearer {development_token(secret, partner(number))}" for number in range(PARTNERS)]
    count = 0
    while True:
        number = chance.randrange(PARTNERS)
        sent = {
            "query": PLACE,
            "variables": {
                "input": order_input(chance, number, hot=hot, paid=paid),
                "key": f"bench-{seed}-{count}",
            },
        }
        yield orjson.dumps(sent).decode(), tokens[number]
        count += 1


def peer_requests(seed: str, *, hot: int | None = None) -> Iterator[Request]:
    """The same orders as the peer is asked for them."""
    chance = random.Random(seed)  # noqa: S311 - which orders are placed is no secret
    while True:
        lines = [{"productId": product, "qty": quantity} for product, quantity in _lines(chance, hot)]
        sent = {"query": PEER_PLACE, "variables": {"c": chance.randint(1, CUSTOMERS), "l": lines}}
        yield orjson.dumps(sent).decode(), None
