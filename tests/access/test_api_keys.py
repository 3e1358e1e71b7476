"""API keys of partners: made, used, rotated and revoked through the API, on HTTP and on open sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from db.api_keys import ApiKey
from db.audit import AuditEntry
from domain.access import ALL_SCOPES, Principal, PrincipalKind, Scope
from tests.access.sockets import opened
from tests.serving import Api, served
from tests.world import STAFF, World, make_world

CREATE = """
mutation ($input: ApiKeyCreateInput!, $key: String!) {
  apiKeyCreate(input: $input, idempotencyKey: $key) {
    secret apiKey { id name scopes channels locations createdBy } userErrors { code message field }
  }
}
"""
ROTATE = """
mutation ($id: ID!, $key: String!, $overlap: Int) {
  apiKeyRotate(id: $id, idempotencyKey: $key, overlapSeconds: $overlap) { secret userErrors { code message field } }
}
"""
REVOKE = "mutation ($id: ID!) { apiKeyRevoke(id: $id) { apiKey { revokedBy } userErrors { code message } } }"
ORDERS = "{ orders { totalCount } }"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as served_api:
        yield served_api


@pytest.fixture
async def world(engine: Any) -> World:
    return await make_world(engine, {"a": 10})


async def made(api: Api, world: World, **changes: Any) -> dict[str, Any]:
    """A key for the world's channel that may read orders."""
    given = {"name": "Shop", "scopes": ["orders:read"], "channels": [f"chn_{world.channel_id}"], **changes}
    return await api.did(STAFF, CREATE, {"input": given, "key": str(given)})


async def status(api: Api, credential: str, query: str = ORDERS) -> int:
    response = await api.http.post(
        "/graphql", json={"query": query}, headers={"authorization": f"Bearer {credential}"}
    )
    return response.status_code


async def refused_soon(api: Api, credential: str) -> bool:
    """Whether it is refused within the five seconds that a revocation may take."""
    for _ in range(50):
        if await status(api, credential) == 401:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_key_sees_what_its_bounds_show_and_does_what_its_scopes_allow(api: Api, world: World) -> None:
    order_id = await world.place(("a", 1))
    other = await make_world(world.engine, {"b": 10}, locations=("second",), prices="second")
    hidden = await other.place(("b", 1))
    payload = await made(api, world)
    assert payload["apiKey"]["channels"] == [f"chn_{world.channel_id}"]
    assert payload["apiKey"]["locations"] is None
    assert payload["apiKey"]["createdBy"] == STAFF.account
    response = await api.http.post(
        "/graphql",
        json={
            "query": f'{{ mine: order(id: "ord_{order_id}") {{ id }} other: order(id: "ord_{hidden}") {{ id }} }}'
        },
        headers={"authorization": f"Bearer {payload['secret']}"},
    )
    assert response.json()["data"] == {"mine": {"id": f"ord_{order_id}"}, "other": None}
    assert await status(api, payload["secret"], "{ stockLevels { totalCount } }") == 403


async def test_the_secret_is_shown_once_and_only_its_digest_is_kept(api: Api, world: World) -> None:
    first = await made(api, world)
    again = await made(api, world)
    assert again["apiKey"]["id"] == first["apiKey"]["id"]
    assert again["secret"] is None
    assert await status(api, first["secret"]) == 200
    secret = first["secret"].split("_", 2)[2]
    async with world.engine.begin() as session:
        for table in ("api_key", "idempotency_key", "audit_entry"):
            kept = (await session.execute(sa.text(f"select t::text from {table} t"))).scalars().all()
            assert kept
            assert not any(secret in row for row in kept)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"channels": None}, ["channels"]),
        ({"everywhere": True}, ["channels"]),
        ({"channels": []}, ["channels"]),
        ({"scopes": []}, ["scopes"]),
        ({"scopes": ["orders:read", "root"]}, ["scopes", "1"]),
        ({"scopes": ["access:write"]}, ["scopes"]),
        ({"channels": ["chn_00000000-0000-7000-8000-000000000001"]}, ["channels", "0"]),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, ["expiresAt"]),
        ({"name": "  "}, ["name"]),
    ],
)
async def test_a_key_that_says_too_little_or_too_much_is_refused(
    api: Api, world: World, changes: dict[str, Any], field: list[str]
) -> None:
    given = {"name": "Shop", "scopes": ["orders:read"], "channels": [f"chn_{world.channel_id}"], **changes}
    payload = (await api.data(STAFF, CREATE, {"input": given, "key": "k"}))["apiKeyCreate"]
    assert payload["secret"] is None
    assert [error["field"] for error in payload["userErrors"]] == [field]
    async with world.engine.begin() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(ApiKey)) == 0


async def test_nobody_gives_a_key_more_than_they_have(api: Api, world: World) -> None:
    given = {"name": "Shop", "scopes": ["stock:write"], "everywhere": True}
    clerk = Principal(
        kind=PrincipalKind.STAFF,
        account="staff:clerk",
        scopes=frozenset({Scope.ACCESS_WRITE, Scope.ACCESS_READ}),
    )
    bounded = Principal(
        kind=PrincipalKind.STAFF, account="staff:b", scopes=ALL_SCOPES, channels=(world.channel_id,)
    )
    for actor in (clerk, bounded):
        payload = (await api.data(actor, CREATE, {"input": given, "key": "k"}))["apiKeyCreate"]
        assert [error["code"] for error in payload["userErrors"]] == ["INVALID_INPUT"]
    answer = await api.answer(world.partner, CREATE, {"input": given, "key": "k"})
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    secret = (await made(api, world))["secret"]
    assert await status(api, secret, "{ apiKeys { totalCount } }") == 403


async def test_after_a_rotation_two_secrets_are_live_and_the_oldest_is_not(api: Api, world: World) -> None:
    payload = await made(api, world)
    key_id, first = payload["apiKey"]["id"], payload["secret"]
    second = (await api.did(STAFF, ROTATE, {"id": key_id, "key": "r1"}))["secret"]
    assert [await status(api, secret) for secret in (first, second)] == [200, 200]
    third = (await api.did(STAFF, ROTATE, {"id": key_id, "key": "r2"}))["secret"]
    assert await refused_soon(api, first)
    assert [await status(api, secret) for secret in (second, third)] == [200, 200]
    fourth = (await api.did(STAFF, ROTATE, {"id": key_id, "key": "r3", "overlap": 0}))["secret"]
    assert await refused_soon(api, third)
    assert await status(api, fourth) == 200


async def test_a_revoked_key_is_refused_and_its_open_socket_closed(api: Api, world: World) -> None:
    payload = await made(api, world, scopes=["orders:read", "events:read"])
    kept = await made(api, world, name="Another", scopes=["orders:read", "events:read"])
    async with opened(api, payload["secret"]) as socket, opened(api, kept["secret"]) as other:
        await socket.follow_orders()
        await other.follow_orders()
        revoked = await api.did(STAFF, REVOKE, {"id": payload["apiKey"]["id"]})
        assert revoked["apiKey"] == {"revokedBy": STAFF.account}
        async with asyncio.timeout(5):
            assert await socket.close_code() == 4403
        assert await refused_soon(api, payload["secret"])
        assert other.is_open
    assert await status(api, kept["secret"]) == 200
    again = (await api.data(STAFF, REVOKE, {"id": payload["apiKey"]["id"]}))["apiKeyRevoke"]
    assert [error["code"] for error in again["userErrors"]] == ["INVALID_INPUT"]


@pytest.mark.parametrize(
    "text",
    [
        "oms_", "oms__", "oms_x_y", "oms_" + "0" * 32 + "_" + "s" * 43, "oms_{id}_" + "s" * 43, "oms_{id}_",
        "oms_{upper}_{secret}", "oms_{id}_{secret}x", "OMS_{id}_{secret}", "oms_{id}_{secret}\x00",
    ],
)  # fmt: skip
async def test_what_is_no_key_of_ours_is_refused_alike(api: Api, world: World, text: str) -> None:
    _, id, secret = (await made(api, world))["secret"].split("_", 2)
    sent = text.format(id=id, secret=secret, upper=id.upper())
    if not sent.isprintable():
        return
    response = await api.http.post(
        "/graphql", json={"query": ORDERS}, headers={"authorization": f"Bearer {sent}"}
    )
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert secret not in response.text


async def test_when_a_key_was_last_used_is_kept(database_url: str, world: World) -> None:
    async with served(database_url, workers=False) as api:
        payload = await made(api, world)
        for _ in range(3):
            assert await status(api, payload["secret"]) == 200
    # Written in batches, at the latest when the server stops.
    async with world.engine.begin() as session:
        assert await session.scalar(sa.select(ApiKey.last_used_at)) is not None


async def test_keys_are_listed_and_everything_done_with_them_is_audited(api: Api, world: World) -> None:
    payload = await made(api, world)
    await api.did(STAFF, ROTATE, {"id": payload["apiKey"]["id"], "key": "r"})
    await api.did(STAFF, REVOKE, {"id": payload["apiKey"]["id"]})
    listed = await api.data(STAFF, "{ apiKeys(filter: {revoked: true}) { nodes { id name revokedAt } } }")
    assert [node["id"] for node in listed["apiKeys"]["nodes"]] == [payload["apiKey"]["id"]]
    async with world.engine.begin() as session:
        rows = await session.execute(
            sa.select(AuditEntry.action, AuditEntry.account, AuditEntry.address).order_by(AuditEntry.id)
        )
        assert [tuple(row) for row in rows] == [
            (action, STAFF.account, "127.0.0.1")
            for action in ("apiKeyCreate", "apiKeyRotate", "apiKeyRevoke")
        ]
