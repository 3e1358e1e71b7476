"""Portal links: signed tokens that show one order to whoever has them, until they end."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import OctKey

from domain.access import PORTAL_SCOPES, Principal, PrincipalKind

ISSUER = "maestro-oms-links"
AUDIENCE = "maestro-oms-guest"

_CLAIMS = jwt.JWTClaimsRegistry(
    leeway=0,  # both ends of these are ours
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
    sub={"essential": True},
)


class GuestLinks:
    """Signs with the first secret, accepts what any of them has signed."""

    def __init__(self, secrets: Sequence[str]) -> None:
        # Derived: where a secret serves something else too, what that signs is no portal link.
        self._keys = [
            OctKey.import_key(hmac.digest(secret.encode(), b"maestro-oms portal links", hashlib.sha256))
            for secret in secrets
        ]

    def sign(self, order_id: UUID, token_id: UUID, issued_at: datetime, expires_at: datetime) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"guest:{order_id}",
            "order": str(order_id),
            "jti": str(token_id),
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
        }
        return jwt.encode({"alg": "HS256"}, claims, self._keys[0])

    def verified(self, token: str) -> tuple[Principal, dict[str, Any]] | None:
        """Who has this link, with the token's claims; None when it is not signed by us.

        Raises JoseError for one that has expired. Whatever it claims, it is a guest's.
        """
        for key in self._keys:
            try:
                claims = jwt.decode(token, key, algorithms=["HS256"]).claims
            except BadSignatureError:
                continue
            _CLAIMS.validate(claims)
            order_id = UUID(claims["order"])
            guest = Principal(
                kind=PrincipalKind.GUEST,
                account=f"guest:{order_id}",
                scopes=PORTAL_SCOPES,
                order_id=order_id,
            )
            return guest, claims
        return None
