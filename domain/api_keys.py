"""API keys: how their texts look, how long a secret outlives its successor, what a key may be given."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain import text
from domain.access import STAFF_SCOPES, Principal, PrincipalKind, Scope
from domain.errors import InvalidInput, Refused

SECRET_BYTES = 32
PREFIX = "oms"
LONGEST_OVERLAP = timedelta(days=90)
DEFAULT_OVERLAP = timedelta(days=7)
"""How long the secret before still counts after a rotation, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateApiKey:
    """`channels` and `locations` of None: unbounded in that respect; both None needs `everywhere`."""

    name: str
    scopes: frozenset[Scope]
    channels: tuple[UUID, ...] | None
    locations: tuple[UUID, ...] | None
    everywhere: bool
    expires_at: datetime | None
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateApiKey:
    key_id: UUID
    digest: bytes
    overlap: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeApiKey:
    key_id: UUID


def account_of(key_id: UUID) -> str:
    """The account of a key's calls. A rotation does not change it: retries keep their idempotency keys."""
    return f"key:{key_id}"


def text_of(key_id: UUID, secret: str) -> str:
    return f"{PREFIX}_{key_id.hex}_{secret}"


def digest_of(secret: str) -> bytes:
    """SHA-256 suffices: a secret is 32 random bytes, not a password that could be guessed."""
    return hashlib.sha256(secret.encode()).digest()


def parts_of(key: str) -> tuple[UUID, str] | None:
    """The id and the secret of a key's text; None for any other text."""
    prefix, _, rest = key.partition("_")
    number, _, secret = rest.partition("_")
    if prefix != PREFIX or len(number) != 32 or not 20 <= len(secret) <= 200 or not secret.isascii():
        return None
    try:
        id = UUID(number)
    except ValueError:
        return None
    return (id, secret) if id.hex == number else None


def same(digest: bytes, stored: bytes | None) -> bool:
    """In constant time: how long it takes tells nothing of the stored one."""
    return stored is not None and hmac.compare_digest(digest, stored)


def check_create(command: CreateApiKey, actor: Principal, now: datetime) -> None:
    """Refused for a key that says too little, or that may do what its maker may not."""
    text.require(command.name, text.MAX_NAME, field=("name",))
    if not command.scopes:
        raise Refused(InvalidInput(message="Name at least one scope.", field=("scopes",)))
    if missing := command.scopes - actor.scopes:
        raise Refused(
            InvalidInput(
                message=f"You cannot give what you do not have: {_list(missing)}.", field=("scopes",)
            )
        )
    if staffs := command.scopes & STAFF_SCOPES:
        raise Refused(InvalidInput(message=f"Only staff may have: {_list(staffs)}.", field=("scopes",)))
    bounded = command.channels is not None or command.locations is not None
    if bounded is command.everywhere:
        message = "Bound the key to channels or locations, or say `everywhere: true`; not both."
        raise Refused(InvalidInput(message=message, field=("channels",)))
    for name, bound in (("channels", command.channels), ("locations", command.locations)):
        if bound is not None and not 1 <= len(bound) <= 100:
            raise Refused(InvalidInput(message="Name 1 to 100 of them.", field=(name,)))
    if command.expires_at is not None and command.expires_at <= now:
        raise Refused(InvalidInput(message="It lies in the past.", field=("expiresAt",)))


def check_overlap(overlap: timedelta) -> None:
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        message = f"From 0 to {int(LONGEST_OVERLAP.total_seconds())} seconds."
        raise Refused(InvalidInput(message=message, field=("overlapSeconds",)))


def require_unbounded_staff(actor: Principal) -> None:
    """Refused for anybody but staff without bounds: access to everything is theirs alone to give or take."""
    if actor.kind is PrincipalKind.STAFF and actor.channels is None and actor.locations is None:
        return
    raise Refused(InvalidInput(message="Only staff whose access is not bounded may do this."))


def _list(scopes: Collection[Scope]) -> str:
    return ", ".join(sorted(scopes))
