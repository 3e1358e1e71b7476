"""The identity provider whose tokens are accepted: its keys fetched, kept and rotated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.claims import OURS, Claims

if TYPE_CHECKING:
    import httpx2

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
"""Asymmetric ones only: `none` and HMAC with a public key as its secret are refused by this list."""

REFRESH_SECONDS = 300.0
"""How old keys may get: a key that the issuer has withdrawn is refused after so long."""

SOONEST_SECONDS = 10.0
"""Between two fetches, however many tokens name keys that are not known."""

LEEWAY_SECONDS = 60

log = structlog.get_logger("issuer")


class Issuer:
    """Verifies tokens of one issuer for one audience; `run` keeps its keys fresh."""

    def __init__(self, issuer: str, audience: str, jwks_url: str, claims: Claims = OURS) -> None:
        self.claims = claims
        self._url = jwks_url
        self._keys: KeySet | None = None
        self._wanted = asyncio.Event()
        self._registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def run(self) -> None:
        """Fetch the keys now, every five minutes, and soon after a token named an unknown one."""
        import httpx2  # noqa: PLC0415 - 2 MB that only a server with an issuer needs

        async with httpx2.AsyncClient(timeout=5, follow_redirects=False) as client:
            while True:
                self._wanted.clear()
                await self._fetch(client)
                await asyncio.sleep(SOONEST_SECONDS if self._keys is not None else 1)
                try:
                    async with asyncio.timeout(REFRESH_SECONDS if self._keys is not None else 1):
                        await self._wanted.wait()
                except TimeoutError:
                    continue

    async def _fetch(self, client: httpx2.AsyncClient) -> None:
        import httpx2  # noqa: PLC0415

        try:
            response = await client.get(self._url)
            response.raise_for_status()
            self._keys = KeySet.import_key_set(response.json())
        except (httpx2.HTTPError, JoseError, ValueError, TypeError, KeyError) as error:
            # The keys that are known stay in force: an outage there must not be one here.
            log.warning("keys_not_fetched", url=self._url, error=repr(error))

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a valid token; raises JoseError or ValueError for any other."""
        if self._keys is None:
            self._wanted.set()
            raise ValueError("the issuer's keys are not known yet")
        try:
            claims = jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError):
            self._wanted.set()  # it may be signed with a key that is newer than ours
            raise
        self._registry.validate(claims)
        return claims
