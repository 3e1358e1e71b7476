"""The clients that portals and partners use, each following orders through the served API.

`npm ci --prefix tests/live/node` fetches those of Node; without them their tests are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import cursors
from domain.ids import format_id
from domain.order_commands import CancelOrder
from services.order_cancellation import cancel_order
from tests.live.test_events_api import head_of, relayed
from tests.serving import Api, served
from tests.world import STAFF, World, make_world

HERE = Path(__file__).parent / "node"
NODE = ["graphql-ws", "graphql-sse", "apollo-websocket", "apollo-multipart", "urql-fetch", "urql-websocket"]
QUERY = (
    "subscription Follow($order: ID!, $after: String!) { orderEvents(orderId: $order, after: $after) "
    "{ cursor type version } }"
)


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    return await make_world(engine, {"a": 10})


@pytest.fixture
async def api(database_url: str, world: World) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as running:
        yield running


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not here")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("the clients are not here: npm ci --prefix tests/live/node")
    return found


@contextlib.asynccontextmanager
async def following(
    node: str, client: str, api: Api, variables: dict[str, Any], count: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        node, "follow.mjs", client, api.base, api.token(STAFF), QUERY, orjson.dumps(variables).decode(), str(count),
        cwd=HERE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def results(process: asyncio.subprocess.Process, count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    found = []
    async with asyncio.timeout(20):
        for _ in range(count):
            line = await process.stdout.readline()
            assert line, "the client ended"
            found.append(orjson.loads(line))
    return found


@pytest.mark.parametrize("client", NODE)
async def test_a_client_catches_up_and_follows_then_goes_on_from_its_cursor(
    node: str, client: str, api: Api, world: World
) -> None:
    start = await head_of(api)
    order_id = await world.place(("a", 1))
    await relayed(world)
    version = (await world.order(order_id)).version
    variables = {"order": format_id("ord", order_id), "after": start}
    async with following(node, client, api, variables, version + 1) as process:
        seen = await results(process, version)
        await world.run(cancel_order, CancelOrder(order_id=order_id))
        seen += await results(process, 1)
    events = [result["data"]["orderEvents"] for result in seen]
    await relayed(world)
    final = (await world.order(order_id)).version
    variables["after"] = events[-1]["cursor"]
    async with following(node, client, api, variables, final - version - 1) as process:
        events += [result["data"]["orderEvents"] for result in await results(process, final - version - 1)]
    assert [event["version"] for event in events] == list(range(1, final + 1))
    assert "ORDER_CANCELLED" in {event["type"] for event in events}


@pytest.mark.parametrize("client", NODE)
async def test_a_client_is_told_that_its_cursor_has_expired(
    node: str, client: str, api: Api, world: World
) -> None:
    order_id = await world.place(("a", 1))
    foreign = str(cursors.Cursor(order_id, 1))
    variables = {"order": format_id("ord", order_id), "after": foreign}
    async with following(node, client, api, variables, 1) as process:
        (result,) = await results(process, 1)
    assert "CURSOR_EXPIRED" in orjson.dumps(result).decode()
