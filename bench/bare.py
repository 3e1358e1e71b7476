"""The floor: bare ASGI and asyncpg, one handwritten statement for each operation that returns JSON text.

No GraphQL, no authentication, no logging: what is left is what HTTP and PostgreSQL take. A page may be that of one
channel, whose id is in the variables: what a partner's token asks our server for.
Served by `uvicorn bench.bare:app`, over BENCH_DATABASE_URL.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from bench.operations import ONE, PAGE, PAGE_OF_50

POOL = 10

_FIELDS = """'{"id":"ord_' || o.id || '","number":' || to_json(o.number) || ',"status":"' || o.status
 || '","currentTotal":{"amount":"' || round(o.current_total * 0.01, 2) || '"},"placedAt":"'
 || to_char(o.placed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'"""
_LINES = """',"lines":[' || coalesce((select string_agg('{"quantity":' || l.quantity || ',"unitPrice":{"amount":"'
 || round(l.unit_price * 0.01, 2) || '"},"product":{"sku":' || to_json(p.sku) || ',"name":' || to_json(p.name)
 || '}}', ',' order by l.line_number) from order_line l join product p on p.id = l.product_id
 where l.order_id = o.id), '') || ']}'"""


def _page(where: str) -> str:
    return f"""select '{{"data":{{"orders":{{"nodes":[' || string_agg({_FIELDS} || ',"customer":'
 || coalesce((select '{{"name":' || to_json(c.name) || ',"email":' || coalesce(to_json(c.email)::text, 'null') || '}}'
              from customer c where c.id = o.customer_id), 'null')
 || {_LINES}, ',' order by o.placed_at desc, o.id desc) || ']}}}}}}'
 from (select * from orders {where} order by placed_at desc, id desc limit {PAGE}) o"""


STATEMENTS = {
    (ONE, True): f"""select '{{"data":{{"order":' || coalesce((select {_FIELDS} || {_LINES} from orders o
 where o.id = $1), 'null') || '}}}}'""",
    (PAGE_OF_50, False): _page(""),
    (PAGE_OF_50, True): _page("where channel_id = $1"),
}
"""By the query and whether an id comes with it."""

Message = MutableMapping[str, Any]

_idle: list[asyncpg.Connection[Any]] = []
_free = asyncio.Semaphore(POOL)


async def _start() -> None:
    for _ in range(POOL):
        _idle.append(
            await asyncpg.connect(
                os.environ["BENCH_DATABASE_URL"], server_settings={"jit": "off", "TimeZone": "UTC"}
            )
        )


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answers POSTs of the two operations."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await _start()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = (await receive())["body"]
    sent = orjson.loads(body)
    values = [UUID(sent["variables"]["id"][4:])] if "variables" in sent else []
    async with _free:
        connection = _idle.pop()
        try:
            text: str = await connection.fetchval(STATEMENTS[sent["query"], bool(values)], *values)
        finally:
            _idle.append(connection)
    answer = text.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
