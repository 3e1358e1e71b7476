"""What is asked of everybody: one order, and a page of 50. The same leaves on every side."""

from __future__ import annotations

import orjson

from bench.data import identifier

PAGE = 50

_ORDER = "id number status currentTotal { amount } placedAt"
_LINES = "lines { quantity unitPrice { amount } product { sku name } }"

ONE = f"query One($id: ID!) {{ order(id: $id) {{ {_ORDER} {_LINES} }} }}"
PAGE_OF_50 = (
    f"query Page {{ orders(first: {PAGE}) {{ nodes {{ {_ORDER} customer {{ name email }} {_LINES} }} }} }}"
)

PEER_ONE = (
    "query One($id: Int!) { order(id: $id) { id code status totalCents createdAt "
    "lines { qty priceCents product { sku name } } } }"
)
PEER_PAGE = (
    f"query Page {{ orders(first: {PAGE}) {{ id code status totalCents createdAt customer {{ name email }} "
    "lines { qty priceCents product { sku name } } } }"
)


def body(query: str, id: object = None) -> str:
    """A request's body."""
    sent = {"query": query} if id is None else {"query": query, "variables": {"id": id}}
    return orjson.dumps(sent).decode()


def order_id(number: int) -> str:
    return f"ord_{identifier('d', number)}"


def channel_id(number: int) -> str:
    return f"chn_{identifier('a', number)}"
