"""What our fan-out is measured against, each the same frames to everybody when `GET /burst?n=&rate=` asks for them.

BENCH_LIVE chooses: `starlette` sends by `send_text`, `raw` writes finished frames to the transports, `naive` is
Strawberry with broadcaster as their documentation shows them. Served by `uvicorn bench.live_peers:app`.
"""

# Strawberry reads annotations at run time: no `from __future__ import annotations` here.

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import strawberry
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import GraphQL

MODE = os.environ.get("BENCH_LIVE", "starlette")
CHANNEL = "order"

broadcast = Broadcast("memory://")
sockets: set[WebSocket] = set()
bursts: set[asyncio.Task[None]] = set()


@strawberry.type
class OrderEvent:
    cursor: str
    ts: str
    type: str
    version: str
    occurred_at: str
    to_status: str


@strawberry.type
class Query:
    ready: bool = True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def order_events(self, order_id: strawberry.ID) -> AsyncGenerator[OrderEvent, None]:
        async with broadcast.subscribe(CHANNEL) as subscriber:
            async for event in subscriber:  # type: ignore[union-attr] # broadcaster's own annotation
                yield OrderEvent(**json.loads(event.message))


def event(number: int) -> dict[str, str]:
    return {
        "cursor": f"{number:032}",
        "ts": str(time.monotonic_ns()),
        "type": "ORDER_UPDATED",
        "version": str(number),
        "occurred_at": "2026-01-05T12:34:56.789012Z",
        "to_status": "CONFIRMED",
    }


def message(number: int) -> bytes:
    found = event(number)
    shown = {
        "cursor": found["cursor"],
        "ts": found["ts"],
        "type": found["type"],
        "version": found["version"],
        "occurredAt": found["occurred_at"],
        "toStatus": found["to_status"],
    }
    return orjson.dumps({"id": "1", "type": "next", "payload": {"data": {"orderEvents": shown}}})


async def publish(number: int) -> None:
    if MODE == "naive":
        await broadcast.publish(CHANNEL, json.dumps(event(number)))
    elif MODE == "raw":
        text = message(number)
        frame = bytes((0x81, 126, len(text) >> 8, len(text) & 255)) + text
        for socket in sockets:
            socket.scope["bench.protocol"].transport.write(frame)
    else:
        shown = message(number).decode()
        for socket in list(sockets):
            await socket.send_text(shown)


async def follow(socket: WebSocket) -> None:
    await socket.accept()
    sockets.add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        sockets.discard(socket)


async def burst(request: Request) -> JSONResponse:
    rate = float(request.query_params.get("rate", 0))

    async def publish_all() -> None:
        for number in range(int(request.query_params["n"])):
            await publish(number)
            await asyncio.sleep(1 / rate if rate else 0)

    task = asyncio.create_task(publish_all())
    bursts.add(task)
    task.add_done_callback(bursts.discard)
    return JSONResponse({})


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
    await broadcast.connect()
    yield
    await broadcast.disconnect()


_schema = strawberry.Schema(query=Query, subscription=Subscription)
_served: Any = Starlette(
    routes=[
        Route("/burst", burst),
        WebSocketRoute("/bare", follow),
        Mount("/graphql", GraphQL(_schema, keep_alive=False)),
    ],
    lifespan=lifespan,
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        scope["bench.protocol"] = getattr(send, "__self__", None)
    await _served(scope, receive, send)
