"""Tokens that are refused before they expire, and portal links."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from app.auth import AUDIENCE, ISSUER, guest
from app.claims import Claims
from domain.access import Principal
from tests.access.sockets import opened
from tests.access.test_api_keys import refused_soon, status
from tests.serving import SECRET, Api, served
from tests.world import STAFF, World, make_world

REVOKE = """
mutation ($input: TokenRevokeInput!) {
  tokenRevoke(input: $input) { revocation { id kind value revokedBy } userErrors { code message } }
}
"""
LINK = """
mutation ($order: ID!, $seconds: Int, $key: String) {
  orderGuestTokenCreate(orderId: $order, lifetimeSeconds: $seconds, idempotencyKey: $key) {
    token expiresAt userErrors { code field }
  }
}
"""


def signed(principal: Principal, **claims: Any) -> str:
    """A development token with claims of the caller's."""
    now = int(time.time())
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": principal.account, "iat": now, "exp": now + 600}
    all_claims = {**given, **Claims.describing(principal), **claims}
    return jwt.encode({"alg": "HS256"}, all_claims, OctKey.import_key(SECRET.encode()))


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as served_api:
        yield served_api


@pytest.fixture
async def world(engine: Any) -> World:
    return await make_world(engine, {"a": 10})


async def test_one_token_is_revoked_by_its_id_and_the_subjects_others_are_not(api: Api) -> None:
    token, other = (signed(STAFF, jti=name) for name in ("stolen", "kept"))
    assert [await status(api, each) for each in (token, other)] == [200, 200]
    payload = await api.did(STAFF, REVOKE, {"input": {"tokenId": "stolen", "reason": "laptop lost"}})
    assert payload["revocation"]["kind"] == "TOKEN"
    assert await refused_soon(api, token)
    assert await status(api, other) == 200


async def test_all_that_a_subject_had_is_revoked_and_what_it_is_issued_later_counts(api: Api) -> None:
    clerk = Principal(kind=STAFF.kind, account="staff:clerk", scopes=STAFF.scopes)
    token, without_time = signed(clerk), signed(clerk, iat=0)
    await api.did(STAFF, REVOKE, {"input": {"subject": "staff:clerk"}})
    assert await refused_soon(api, token)
    assert await refused_soon(api, without_time)
    assert await status(api, signed(clerk, iat=int(time.time()) + 2)) == 200
    assert await status(api, signed(STAFF)) == 200


async def test_open_sockets_of_a_revoked_token_are_closed_and_others_stay(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    async with (
        opened(api, signed(STAFF, jti="stolen")) as socket,
        opened(api, signed(guest(order_id))) as other,
    ):
        await socket.follow_orders()
        await api.did(STAFF, REVOKE, {"input": {"tokenId": "stolen"}})
        async with asyncio.timeout(5):
            assert await socket.close_code() == 4403
        assert other.is_open


async def test_a_revocation_is_known_to_a_server_that_starts_later(database_url: str, api: Api) -> None:
    token = signed(STAFF, jti="stolen")
    await api.did(STAFF, REVOKE, {"input": {"tokenId": "stolen"}})
    async with served(database_url, workers=False) as later:
        assert await status(later, token) == 401


@pytest.mark.parametrize("given", [{}, {"tokenId": "a", "subject": "b"}, {"tokenId": " "}])
async def test_a_revocation_names_exactly_one_thing(api: Api, given: dict[str, str]) -> None:
    payload = (await api.data(STAFF, REVOKE, {"input": given}))["tokenRevoke"]
    assert [error["code"] for error in payload["userErrors"]] == ["INVALID_INPUT"]
    listed = await api.data(STAFF, "{ revocations { nodes { id } } }")
    assert listed["revocations"]["nodes"] == []


async def test_a_portal_link_shows_its_order_and_nothing_else(api: Api, world: World) -> None:
    mine, hidden = await world.place(("a", 1)), await world.place(("a", 1))
    payload = await api.did(STAFF, LINK, {"order": f"ord_{mine}"})
    asked = [f'{name}: order(id: "ord_{id}") {{ id }}' for name, id in (("mine", mine), ("other", hidden))]
    query = f"{{ {' '.join(asked)} orders {{ totalCount }} }}"
    response = await api.http.post(
        "/graphql", json={"query": query}, headers={"authorization": f"Bearer {payload['token']}"}
    )
    assert response.json()["data"] == {
        "mine": {"id": f"ord_{mine}"}, "other": None, "orders": {"totalCount": 1},
    }  # fmt: skip
    assert await status(api, payload["token"], "{ stockLevels { totalCount } }") == 403


async def test_a_portal_link_ends_and_a_repeated_call_gives_the_same_one(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    first = await api.did(STAFF, LINK, {"order": f"ord_{order_id}", "seconds": 60, "key": "link"})
    again = await api.did(STAFF, LINK, {"order": f"ord_{order_id}", "seconds": 60, "key": "link"})
    assert first == again
    await api.did(STAFF, REVOKE, {"input": {"subject": f"guest:{order_id}"}})
    assert await refused_soon(api, first["token"])


async def test_links_are_made_only_for_orders_that_one_sees_and_not_for_ever(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    other = Principal(kind=world.partner.kind, account="p", scopes=world.partner.scopes, channels=(uuid4(),))
    hidden, never = [
        (await api.data(other, LINK, {"order": f"ord_{id}"}))["orderGuestTokenCreate"]
        for id in (order_id, uuid4())
    ]
    assert hidden == never == {
        "token": None, "expiresAt": None, "userErrors": [{"code": "NOT_FOUND", "field": ["orderId"]}],
    }  # fmt: skip
    long = await api.data(STAFF, LINK, {"order": f"ord_{order_id}", "seconds": 10**9})
    assert long["orderGuestTokenCreate"]["userErrors"] == [
        {"code": "INVALID_INPUT", "field": ["lifetimeSeconds"]}
    ]
    answer = await api.answer(guest(order_id), LINK, {"order": f"ord_{order_id}"})
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
