"""Events through the served schema: followed, polled, and shown on timelines."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.asyncio.client import connect

from app.auth import guest
from db import cursors
from db.events import Outbox
from domain.access import Principal
from domain.ids import format_id
from domain.order_commands import CancelOrder
from domain.return_commands import ApproveReturn
from domain.shipments import CarrierEventKind
from services.order_cancellation import cancel_order
from services.returns import approve_return
from tests.fulfillment.steps import accepted, ship
from tests.live.clients import Client
from tests.returns.steps import requested, sold
from tests.serving import Api, served
from tests.shipments.test_deliveries import report, scan
from tests.world import STAFF, World, make_world

ROOT = Path(__file__).parents[2]
EVENT = "cursor type version fromStatus toStatus occurredAt details origin subjectKind"

Follow = Callable[..., contextlib.AbstractAsyncContextManager["Following"]]


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    return await make_world(engine, {"a": 10, "b": 5})


@pytest.fixture
async def api(database_url: str, world: World) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as running:
        yield running


class Following:
    """One subscription of one socket."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def events(self, count: int) -> list[dict[str, Any]]:
        return await self.client.events("1", count)

    async def error(self) -> dict[str, Any]:
        message = await self.client.hear("1")
        assert message["type"] == "error", message
        error: dict[str, Any] = message["payload"][0]
        return error


@contextlib.asynccontextmanager
async def follow(api: Api, caller: Principal, query: str, **variables: Any) -> AsyncIterator[Following]:
    async with connect(api.websocket_url, subprotocols=["graphql-transport-ws"]) as connection:
        client = Client(connection)
        await client.init({"token": api.token(caller)})
        await client.say(
            {"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}}
        )
        await client.say({"id": "probe", "type": "subscribe", "payload": {"query": "{ __typename }"}})
        assert (await client.hear("probe"))["type"] == "next"  # by then the subscription has been opened
        assert (await client.hear("probe"))["type"] == "complete"
        yield Following(client)


ORDER_EVENTS = (
    f"subscription($id: ID, $after: String) {{ orderEvents(orderId: $id, after: $after) {{ {EVENT} }} }}"
)


def order_id_text(order_id: UUID) -> str:
    return format_id("ord", order_id)


async def relayed(world: World) -> None:
    """Until everything that was committed has its place in the log."""
    while await world.all(sa.select(Outbox.id)):  # noqa: ASYNC110 - the relay tells nobody
        await asyncio.sleep(0.01)


async def head_of(api: Api) -> str:
    return str((await api.data(STAFF, "{ eventHead }"))["eventHead"])


async def test_a_partner_follows_its_orders_and_sees_the_entity_beside_the_event(
    api: Api, world: World
) -> None:
    query = (
        "subscription($channel: ID!) { orderEvents(filter: {channels: [$channel], types: [ORDER_PLACED]}) "
        "{ type version order { id status lines { sku } } subject { __typename id } actor } }"
    )
    async with follow(api, world.partner, query, channel=format_id("chn", world.channel_id)) as following:
        order_id = await world.place(("a", 2))
        (event,) = await following.events(1)
    assert event == {
        "type": "ORDER_PLACED",
        "version": 1,
        "order": {"id": order_id_text(order_id), "status": "CONFIRMED", "lines": [{"sku": "a"}]},
        "subject": {"__typename": "Order", "id": order_id_text(order_id)},
        "actor": world.partner.account,
    }


async def test_a_guest_sees_what_customers_may_know_of_its_order_and_nothing_else(
    api: Api, world: World
) -> None:
    mine, other = await world.place(("a", 1)), await world.place(("a", 1))
    start = await head_of(api)
    async with (
        follow(api, guest(mine), ORDER_EVENTS, after=start) as own,
        follow(api, guest(mine), ORDER_EVENTS, id=order_id_text(other), after=start) as foreign,
    ):
        for order_id in (other, mine):
            await world.run(cancel_order, CancelOrder(order_id=order_id))
        seen = await own.events(1)
        while seen[-1]["toStatus"] != "CANCELLED":
            seen += await own.events(1)
        assert await foreign.client.silent()
    staff = await api.data(
        STAFF,
        "query($id: ID!) { order(id: $id) { timeline(first: 50) { nodes { version type } } } }",
        {"id": order_id_text(mine)},
    )
    everything = {event["version"]: event["type"] for event in staff["order"]["timeline"]["nodes"]}
    assert {event["version"]: event["type"] for event in seen}.items() <= everything.items()
    assert not {event["type"] for event in seen} & {"FULFILLMENT_ORDER_CANCELLED", "ORDER_UNITS_ALLOCATED"}


async def test_the_actor_is_not_for_customers(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    async with follow(api, guest(order_id), "subscription { orderEvents { actor } }") as following:
        error = await following.error()
    assert error["extensions"]["code"] == "FORBIDDEN"


async def test_the_log_the_timeline_and_the_subscription_tell_the_same_story(api: Api, world: World) -> None:
    start = await head_of(api)
    order_id = await world.place(("a", 1), ("b", 2))
    text = order_id_text(order_id)
    timeline = (
        f"query($id: ID!) {{ order(id: $id) {{ version timeline(first: 50) {{ nodes {{ {EVENT} }} }} }} }}"
    )
    at_once = (await api.data(STAFF, timeline, {"id": text}))["order"]
    assert [event["version"] for event in at_once["timeline"]["nodes"]] == list(
        range(1, at_once["version"] + 1)
    )
    async with follow(api, STAFF, ORDER_EVENTS, id=text, after=start) as following:
        followed = await following.events(at_once["version"])
    later = (await api.data(STAFF, timeline, {"id": text}))["order"]["timeline"]["nodes"]
    polled: list[dict[str, Any]] = []
    after = start
    while page := (
        await api.data(
            STAFF,
            f"query($after: String!) {{ events(after: $after, first: 2) {{ {EVENT} }} }}",
            {"after": after},
        )
    )["events"]:
        assert len(page) <= 2
        polled += page
        after = page[-1]["cursor"]
    assert after == await head_of(api)
    assert followed == later
    of_order = {event["cursor"] for event in followed}
    assert [event for event in polled if event["cursor"] in of_order] == followed


async def test_timeline_pages_go_on_where_they_ended_before_and_after_the_relay(
    api: Api, world: World
) -> None:
    order_id = await world.place(("a", 1))
    query = (
        "query($id: ID!, $after: String) { order(id: $id) { timeline(first: 1, after: $after) "
        "{ edges { cursor node { version } } pageInfo { hasNextPage endCursor } } } }"
    )
    versions: list[int] = []
    after: str | None = None
    while True:
        page = (await api.data(STAFF, query, {"id": order_id_text(order_id), "after": after}))["order"][
            "timeline"
        ]
        versions.append(page["edges"][0]["node"]["version"])
        assert page["pageInfo"]["endCursor"] == page["edges"][0]["cursor"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        await asyncio.sleep(0.05)
    assert versions == list(range(1, len(versions) + 1))


@pytest.mark.parametrize(
    "after",
    ["nonsense", str(cursors.Cursor(uuid4(), 0)), "A" * 32],
    ids=["not a cursor", "of another epoch", "of no epoch"],
)
async def test_polling_from_a_cursor_that_leads_nowhere_is_an_error_with_a_code(api: Api, after: str) -> None:
    body = await api.answer(
        STAFF, "query($after: String!) { events(after: $after) { type } eventHead }", {"after": after}
    )
    (error,) = body["errors"]
    assert error["path"] == ["events"]
    assert error["extensions"] == {"code": "CURSOR_EXPIRED"}


async def test_polling_is_bounded_filtered_and_shows_only_what_may_be_seen(api: Api, world: World) -> None:
    mine = await world.place(("a", 1))
    await world.place(("a", 1))
    await relayed(world)
    everything = (await api.data(STAFF, "{ events(first: 1000) { type cursor } }"))["events"]
    assert len((await api.data(STAFF, "{ events(first: 0) { type } }"))["events"]) == 0
    placed = (await api.data(STAFF, "{ events(types: [ORDER_PLACED]) { type } }"))["events"]
    assert placed == [{"type": "ORDER_PLACED"}] * 2
    own = (await api.data(guest(mine), "{ events(first: 100) { type order { id } } }"))["events"]
    assert {event["order"]["id"] for event in own} == {order_id_text(mine)}
    assert len(own) < len(everything)


async def test_an_order_is_shown_at_once_and_after_it_has_changed(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    query = "subscription($id: ID!) { orderStatus(orderId: $id) { status version } }"
    async with follow(api, guest(order_id), query, id=order_id_text(order_id)) as following:
        (shown,) = await following.events(1)
        assert shown["status"] == "CONFIRMED"
        await world.run(cancel_order, CancelOrder(order_id=order_id))
        while shown["status"] != "CANCELLED":
            (shown,) = await following.events(1)
    row = await world.order(order_id)
    assert shown["version"] == row.version


async def test_an_order_that_may_not_be_seen_has_no_status_to_follow(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    query = "subscription($id: ID!) { orderStatus(orderId: $id) { status } }"
    async with follow(api, guest(uuid4()), query, id=order_id_text(order_id)) as following:
        assert (await following.error())["extensions"]["code"] == "NOT_FOUND"


async def test_changes_of_stock_are_followed_by_sku_and_location(api: Api, world: World) -> None:
    query = (
        "subscription($skus: [String!], $locations: [ID!]) { stockChanges(skus: $skus, locations: $locations) "
        "{ cursor type version details product { sku } location { code } stockLevel { allocated } } }"
    )
    location = format_id("loc", world.locations["main"])
    await relayed(world)
    async with (
        follow(api, STAFF, query, skus=["b"]) as by_sku,
        follow(api, STAFF, query, locations=[location]) as by_location,
        follow(api, STAFF, query, locations=[format_id("loc", uuid4())]) as nowhere,
    ):
        await world.place(("a", 3))
        await world.place(("b", 2))
        (change,) = await by_sku.events(1)
        assert (change["product"], change["location"]) == ({"sku": "b"}, {"code": "main"})
        assert change["details"]["change"] == {"allocated": 2}
        assert [event["product"]["sku"] for event in await by_location.events(2)] == ["a", "b"]
        assert await nowhere.client.silent()


SHIPMENT_EVENTS = (
    "subscription($id: ID, $order: ID, $filter: ShipmentEventFilter, $after: String) { "
    "shipmentEvents(shipmentId: $id, orderId: $order, filter: $filter, after: $after) "
    "{ cursor type version occurredAt fromStatus toStatus details shipment { id status } "
    "package { trackingNumber } order { id } } }"
)


async def test_shipments_and_their_parcels_are_followed_by_order_location_and_type(
    api: Api, world: World
) -> None:
    mine, other = await world.place(("a", 1)), await world.place(("a", 1))
    sent_from = await accepted(world, mine)
    other_sent_from = await accepted(world, other)
    await relayed(world)
    here, elsewhere = format_id("loc", world.locations["main"]), format_id("loc", uuid4())
    async with (
        follow(api, guest(mine), SHIPMENT_EVENTS, order=order_id_text(mine)) as portal,
        follow(
            api, STAFF, SHIPMENT_EVENTS, filter={"types": ["SHIPMENT_SHIPPED"], "locations": [here]}
        ) as left,
        follow(api, STAFF, SHIPMENT_EVENTS, filter={"locations": [elsewhere]}) as nowhere,
        follow(api, STAFF, SHIPMENT_EVENTS, filter={"types": ["DELIVERY_UPDATED"]}) as delivery,
    ):
        await ship(world, other_sent_from, tracking="TRACK-0")
        shipment_id = await ship(world, sent_from, tracking="TRACK-1")
        assert shipment_id is not None
        await report(world, scan("1", CarrierEventKind.PICKED_UP, tracking="TRACK-1"))
        shipped = [event["shipment"] for event in await left.events(2)]
        assert shipped[1] == {"id": format_id("shp", shipment_id), "status": "SHIPPED"}
        (event,) = await delivery.events(1)
        assert event["package"] == {"trackingNumber": "TRACK-1"}
        assert event["shipment"]["id"] == format_id("shp", shipment_id)
        assert event["details"]["to"] == "IN_TRANSIT"
        seen = await portal.events(2)
        while seen[-1]["type"] != "DELIVERY_UPDATED":
            seen += await portal.events(1)
        assert {event["order"]["id"] for event in seen} == {order_id_text(mine)}
        assert {event["shipment"]["id"] for event in seen} == {format_id("shp", shipment_id)}
        assert await nowhere.client.silent(0.1)


async def test_one_shipment_is_followed_with_its_parcels_from_any_place(api: Api, world: World) -> None:
    order_id = await world.place(("a", 2))
    sent_from = await accepted(world, order_id)
    await relayed(world)
    start = await head_of(api)
    first = await ship(world, sent_from, 1, tracking="TRACK-1")
    second = await ship(world, sent_from, 1, tracking="TRACK-2")
    for number in (1, 2):
        await report(world, scan(str(number), CarrierEventKind.PICKED_UP, tracking=f"TRACK-{number}"))
    await relayed(world)
    for shipment_id in (first, second):
        assert shipment_id is not None
        asked = format_id("shp", shipment_id)
        async with follow(api, guest(order_id), SHIPMENT_EVENTS, id=asked, after=start) as following:
            seen = await following.events(1)
            while seen[-1]["type"] != "DELIVERY_UPDATED":
                seen += await following.events(1)
            assert {event["shipment"]["id"] for event in seen} == {asked}
            assert await following.client.silent(0.1)
    live = format_id("shp", second)
    async with (
        follow(api, STAFF, SHIPMENT_EVENTS, id=live) as following,
        follow(api, STAFF, SHIPMENT_EVENTS, id=format_id("shp", uuid4())) as nobody,
    ):
        await report(world, scan("3", CarrierEventKind.DELIVERED, tracking="TRACK-1"))
        await report(world, scan("4", CarrierEventKind.DELIVERED, tracking="TRACK-2"))
        seen = await following.events(1)
        assert (seen[0]["shipment"]["id"], seen[0]["package"]) == (live, {"trackingNumber": "TRACK-2"})
        assert await nobody.client.silent(0.1)
    async with follow(api, STAFF, SHIPMENT_EVENTS, id=live, after=str(cursors.Cursor(uuid4(), 1))) as expired:
        extensions = (await expired.error())["extensions"]
    assert (extensions["code"], extensions["snapshot"]["shipment"]["id"]) == ("CURSOR_EXPIRED", live)


async def test_returns_are_followed_by_return_and_by_order(api: Api, world: World) -> None:
    query = (
        "subscription($return: ID, $order: ID, $mode: FollowMode! = ALL, $after: String) { returnEvents("
        "returnId: $return, orderId: $order, mode: $mode, after: $after) "
        "{ cursor type version toStatus return { id status } order { id } } }"
    )
    first, second = await sold(world, ("a", 1)), await sold(world, ("a", 1))
    await relayed(world)
    start = await head_of(api)
    async with (
        follow(api, guest(first), query) as portal,
        follow(api, STAFF, query, order=order_id_text(second)) as of_second,
    ):
        return_id = await requested(world, first, 1)
        await world.run(approve_return, ApproveReturn(return_id=return_id))
        other_id = await requested(world, second, 1)
        (begun, approved) = await portal.events(2)
        assert (begun["type"], begun["toStatus"]) == ("RETURN_REQUESTED", "REQUESTED")
        assert (approved["type"], approved["return"]["id"]) == (
            "RETURN_APPROVED",
            format_id("ret", return_id),
        )
        assert approved["order"] == {"id": order_id_text(first)}
        (event,) = await of_second.events(1)
        assert event["return"] == {"id": format_id("ret", other_id), "status": "REQUESTED"}
    variables = {"return": format_id("ret", return_id), "mode": "LATEST", "after": start}
    async with follow(api, STAFF, query, **variables) as latest:
        assert [event["type"] for event in await latest.events(1)] == ["RETURN_APPROVED"]
        assert await latest.client.silent(0.1)


async def test_orders_are_followed_by_customer_status_and_type(api: Api, world: World) -> None:
    query = "subscription($filter: OrderEventFilter) { orderEvents(filter: $filter) { type toStatus order { id } } }"
    customer = format_id("cus", world.customer_id)
    await relayed(world)
    async with (
        follow(api, STAFF, query, filter={"customers": [customer], "statuses": ["CANCELLED"]}) as cancelled,
        follow(api, STAFF, query, filter={"customers": [format_id("cus", uuid4())]}) as nobody,
    ):
        order_id = await world.place(("a", 1))
        await world.run(cancel_order, CancelOrder(order_id=order_id))
        (event,) = await cancelled.events(1)
        assert event == {
            "type": "ORDER_CANCELLED",
            "toStatus": "CANCELLED",
            "order": {"id": order_id_text(order_id)},
        }
        assert await cancelled.client.silent(0.1)
        assert await nobody.client.silent(0.1)


async def test_an_unknown_sku_cannot_be_followed(api: Api) -> None:
    async with follow(api, STAFF, 'subscription { stockChanges(skus: ["a", "zz"]) { type } }') as following:
        error = await following.error()
    assert error["extensions"]["code"] == "NOT_FOUND"
    assert "'zz'" in error["message"]


async def test_a_wrong_id_is_an_error_of_the_operation(api: Api) -> None:
    async with follow(api, STAFF, 'subscription { orderEvents(orderId: "shp_1") { type } }') as following:
        error = await following.error()
    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert error["path"] == ["orderEvents"]


async def test_mutations_work_over_the_socket(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    mutation = (
        'mutation($id: ID!) { orderCancel(input: {orderId: $id}, idempotencyKey: "c") '
        "{ order { status } userErrors { message } } }"
    )
    async with connect(api.websocket_url, subprotocols=["graphql-transport-ws"]) as connection:
        client = Client(connection)
        await client.init({"token": api.token(world.partner)})
        payload = {"query": mutation, "variables": {"id": order_id_text(order_id)}}
        await client.say({"id": "m", "type": "subscribe", "payload": payload})
        message = await client.hear("m")
        assert message["payload"]["data"]["orderCancel"] == {
            "order": {"status": "CANCELLED"},
            "userErrors": [],
        }
        assert (await client.hear("m"))["type"] == "complete"


async def test_server_sent_events_carry_cursors_that_a_poll_goes_on_from(api: Api, world: World) -> None:
    query = "subscription { orderEvents(filter: {types: [ORDER_PLACED]}) { cursor type } }"
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {api.token(STAFF)}"}
    async with api.http.stream("POST", "/graphql", json={"query": query}, headers=headers) as response:
        await world.place(("a", 1))
        lines = response.aiter_lines()
        fields: dict[str, str] = {}
        while "data" not in fields:
            name, _, value = (await anext(lines)).partition(": ")
            fields[name] = value
    event = orjson.loads(fields["data"])["data"]["orderEvents"]
    assert fields["id"] == event["cursor"]
    rest = (
        await api.data(
            STAFF, "query($after: String!) { events(after: $after) { version } }", {"after": event["cursor"]}
        )
    )["events"]
    assert isinstance(rest, list)


async def test_the_figures_of_the_live_path_are_on_metrics(api: Api, world: World) -> None:
    await relayed(world)
    start = await head_of(api)
    async with follow(api, STAFF, ORDER_EVENTS, after=start) as following:
        await world.place(("a", 1))
        await following.events(1)
        text = (await api.http.get("/metrics")).text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures['oms_live_connections{transport="websocket"}']) >= 1
    assert float(figures["oms_live_subscriptions"]) >= 1
    assert float(figures["oms_live_deliveries_total"]) + float(figures["oms_live_replayed_total"]) >= 1
    assert float(figures["oms_relay_events_total"]) >= 1
    assert float(figures["oms_live_tail_position"]) >= 1
    documented = set(re.findall(r"`(oms_(?:live|relay)_\w+)", (ROOT / "docs" / "live.md").read_text()))
    shown = {name.partition("{")[0] for name in figures if re.match("oms_(live|relay)_", name)}
    assert documented == {name for name in shown if not name.endswith("_created")}
