"""Subscriptions: events rendered in one statement, shared by all who ask for the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from domain.access import ALL_SCOPES, Principal, PrincipalKind, Scope
from schema.plan.operation import RequestError
from schema.plan.planner import Planner
from tests.plan.conftest import PARTNER, STAFF, CountingReads, guest, key, order_id

TEXT = """subscription Watch($id: ID!, $after: String, $deep: Boolean = false, $n: Int = 1) {
    change: orderEvents(orderId: $id, after: $after) {
        position type order @include(if: $deep) { number events(last: $n) { nodes { position } } } } }"""


def plan(planner: Planner, principal: Principal = STAFF, **variables: Any) -> Any:
    return planner.plan_subscription(TEXT, "Watch", {"id": order_id(1), **variables}, principal)


async def test_a_batch_of_events_is_one_statement_and_each_is_a_finished_payload(
    planner: Planner, reads: CountingReads
) -> None:
    made = plan(planner, deep=True, after="c")
    assert (made.response_key, made.field_name) == ("change", "orderEvents")
    assert made.function(None, **made.arguments) == {"order_id": order_id(1), "after": "c"}
    async with reads.connection() as connection:
        shown = await made.render(connection, [3, 4, 999], STAFF)
    assert {position: orjson.loads(payload) for position, payload in shown.items()} == {
        place: {
            "data": {
                "change": {
                    "position": place,
                    "type": type_,
                    "order": {"number": "A001", "events": {"nodes": [{"position": 4}]}},
                }
            }
        }
        for place, type_ in ((3, "PLACED"), (4, "PICKED"))
    }


async def test_what_a_subscriber_may_not_see_is_absent(planner: Planner, reads: CountingReads) -> None:
    async with reads.connection() as connection:
        assert set(await plan(planner, PARTNER).render(connection, [1, 2, 3, 4], PARTNER)) == {3, 4}
        assert set(await plan(planner, guest(0)).render(connection, [1, 2, 3, 4], guest(0))) == {1, 2}


def test_those_who_would_be_shown_the_same_share_one_rendering(planner: Planner) -> None:
    assert plan(planner).share_key == plan(planner, id=order_id(2), after="x").share_key
    assert plan(planner, deep=True).share_key != plan(planner).share_key
    assert plan(planner, deep=True, n=2).share_key != plan(planner, deep=True, n=1).share_key
    assert plan(planner, guest(1)).share_key != plan(planner, guest(2)).share_key
    assert plan(planner, guest(1)).share_key == plan(planner, guest(1)).share_key
    other = dataclasses.replace(STAFF, account="somebody else")
    assert plan(planner, other).share_key == plan(planner).share_key
    assert hash(plan(planner, guest(1)).share_key)


def test_what_cannot_be_subscribed_to_is_refused(planner: Planner) -> None:
    without = Principal(kind=PrincipalKind.STAFF, account="s", scopes=ALL_SCOPES - {Scope.EVENTS_READ})
    with pytest.raises(RequestError, match="events:read"):
        plan(planner, without)
    with pytest.raises(RequestError, match=r"Variable '\$id'"):
        plan(planner, id=None)
    with pytest.raises(RequestError, match="not a subscription"):
        planner.plan_subscription("{ head }", None, {}, STAFF)
    with pytest.raises(RequestError, match="Cannot query field"):
        planner.plan_subscription("subscription { nothing }", None, {}, STAFF)


async def test_a_broken_promise_is_an_error_of_its_own_event(planner: Planner, reads: CountingReads) -> None:
    text = f'subscription {{ orderEvents(orderId: "{order_id(1)}") {{ order {{ broken }} }} }}'
    made = planner.plan_subscription(text, None, {}, STAFF)
    async with reads.connection() as connection:
        shown = await made.render(connection, [3, 9], STAFF)
    assert orjson.loads(shown[9]) == {"data": {"orderEvents": {"order": {"broken": "note\n4\t\x01é"}}}}
    broken = orjson.loads(shown[3])
    assert broken["data"] is None
    assert broken["errors"][0]["path"] == ["orderEvents"]
    assert key(1, 4)
