"""Tokens to principals: a development secret, and an issuer whose keys rotate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from uvicorn import Config, Server

from app import issuer as module
from app.auth import Authenticator, Unauthenticated, development_token, guest, partner
from app.issuer import Issuer
from domain.access import PrincipalKind, Scope

SECRET = "a development secret of enough characters"
OLD, NEW = (RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True) for name in ("old", "new"))


def test_a_development_token_says_who_calls_and_only_its_own_secret_accepts_it() -> None:
    caller = partner("partner:x", channels=(uuid4(),))
    token = development_token(SECRET, caller)
    assert Authenticator(SECRET).authenticate(f"Bearer {token}") == caller
    for authenticator in (Authenticator(SECRET + "!"), Authenticator(None)):
        with pytest.raises(Unauthenticated):
            authenticator.authenticate(f"Bearer {token}")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer a.b.c", "Bearer " + "x" * 5000])
def test_what_is_no_token_is_unauthenticated(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        Authenticator(SECRET).authenticate(header)


def test_an_expired_token_is_refused_although_it_was_known() -> None:
    token = development_token(SECRET, guest(uuid4()), lifetime_seconds=-3600)
    with pytest.raises(Unauthenticated):
        Authenticator(SECRET).authenticate(f"Bearer {token}")


def signed(key: Any, algorithm: str = "RS256", **changes: Any) -> str:
    claims = {
        "iss": "https://login.example.com/",
        "aud": "maestro",
        "sub": "staff:ada",
        "exp": int(time.time()) + 600,
        "kind": "STAFF",
        "scope": "orders:read",
        **changes,
    }
    header = {"alg": algorithm, "kid": getattr(key, "kid", None) or "none"}
    return jwt.encode(header, claims, key, algorithms=[algorithm])


@pytest.fixture
async def published() -> AsyncIterator[tuple[str, list[RSAKey]]]:
    """An identity provider's key set, on a real server; change the list to rotate."""
    keys = [OLD]

    async def jwks(_: Request) -> JSONResponse:
        return JSONResponse(KeySet(keys).as_dict(private=False))

    server = Server(Config(Starlette(routes=[Route("/jwks", jwks)]), port=0, log_config=None))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/jwks", keys
    server.should_exit = True
    await task


async def accepted(authenticator: Authenticator, token: str) -> bool:
    """Whether the token is accepted within a moment: keys are fetched in the background."""
    for _ in range(40):
        try:
            authenticator.authenticate(f"Bearer {token}")
        except Unauthenticated:
            await asyncio.sleep(0.05)
        else:
            return True
    return False


async def test_an_issuers_tokens_are_accepted_and_its_new_keys_are_found(
    published: tuple[str, list[RSAKey]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOONEST_SECONDS", 0.05)
    url, keys = published
    issuer = Issuer("https://login.example.com/", "maestro", url)
    running = asyncio.create_task(issuer.run())
    try:
        authenticator = Authenticator(None, issuer)
        assert await accepted(authenticator, signed(OLD))
        principal = authenticator.authenticate(f"Bearer {signed(OLD)}")
        assert (principal.kind, principal.account) == (PrincipalKind.STAFF, "staff:ada")
        assert principal.scopes == {Scope.ORDERS_READ}
        keys[:] = [NEW]
        assert await accepted(authenticator, signed(NEW, sub="staff:grace"))
        for token in (
            signed(NEW, iss="https://evil.example.com/"),
            signed(NEW, aud="another"),
            signed(NEW, exp=int(time.time()) - 3600),
            signed(NEW, kind="ROOT"),
            signed(OctKey.import_key(SECRET, {"kid": "new"}), "HS256"),
            signed(RSAKey.generate_key(2048, {"kid": "new"}, private=True)),
        ):
            with pytest.raises(Unauthenticated):
                authenticator.authenticate(f"Bearer {token}")
    finally:
        running.cancel()
