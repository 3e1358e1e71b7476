"""Making, rotating and revoking the API keys of partners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db import visibility
from db.api_keys import ApiKey
from db.base import new_id
from db.channels import Channel
from db.engine import Session
from db.locations import Location
from db.revocations import RAISE
from domain.access import Principal, VisibilityClass
from domain.api_keys import (
    CreateApiKey,
    RevokeApiKey,
    RotateApiKey,
    check_create,
    check_overlap,
    require_unbounded_staff,
)
from domain.errors import InvalidInput, NotFound, Refused
from domain.ids import Prefix, format_id


async def create_api_key(
    session: Session, command: CreateApiKey, /, *, actor: Principal, now: datetime
) -> tuple[UUID, str]:
    """Make the key; returns its id and, in hexadecimal, the digest of the secret that it got.

    A repeat gets the first call's digest, by which its caller knows that its own secret is none.
    """
    require_unbounded_staff(actor)
    check_create(command, actor, now)
    await _require(session, Channel, command.channels, Prefix.CHANNEL, "channels")
    await _require(session, Location, command.locations, Prefix.LOCATION, "locations")
    key_id = new_id()
    await session.execute(
        sa.insert(ApiKey).values(
            id=key_id,
            name=command.name,
            scopes=sorted(command.scopes),
            channels=None if command.channels is None else sorted(set(command.channels)),
            locations=None if command.locations is None else sorted(set(command.locations)),
            digest=command.digest,
            expires_at=command.expires_at,
            created_by=actor.account,
            created_at=now,
            updated_at=now,
        )
    )
    return key_id, command.digest.hex()


async def rotate_api_key(
    session: Session, command: RotateApiKey, /, *, actor: Principal, now: datetime
) -> tuple[UUID, str]:
    """Give the key a new secret. The one before counts on for `overlap`, one older than that no longer."""
    require_unbounded_staff(actor)
    check_overlap(command.overlap)
    key = await _lock(session, command.key_id, actor)
    await session.execute(
        sa.update(ApiKey)
        .where(ApiKey.id == key.id)
        .values(
            digest=command.digest,
            previous_digest=key.digest,
            previous_ends_at=now + command.overlap,
            rotated_at=now,
            updated_at=now,
        )
    )
    await session.execute(RAISE)
    return key.id, command.digest.hex()


async def revoke_api_key(
    session: Session, command: RevokeApiKey, /, *, actor: Principal, now: datetime
) -> UUID:
    """End the key, with both its secrets: every process refuses it within two seconds."""
    require_unbounded_staff(actor)
    key = await _lock(session, command.key_id, actor)
    await session.execute(
        sa.update(ApiKey)
        .where(ApiKey.id == key.id)
        .values(revoked_at=now, revoked_by=actor.account, updated_at=now)
    )
    await session.execute(RAISE)
    return command.key_id


async def _lock(session: Session, key_id: UUID, actor: Principal) -> Row[Any]:
    """The key, if it can still be changed."""
    table = ApiKey.__table__
    statement = (
        sa.select(*(table.c[name] for name in ("id", "digest", "revoked_at")))
        .where(table.c.id == key_id, visibility.predicate("api_key", table, VisibilityClass.of(actor)))
        .with_for_update()
    )
    key: Row[Any] | None = (await session.execute(statement, visibility.values(actor))).one_or_none()
    if key is None:
        shown = format_id(Prefix.API_KEY, key_id)
        raise Refused(NotFound(message="There is no such API key.", field=("id",), id=shown))
    if key.revoked_at is not None:
        raise Refused(InvalidInput(message="This API key has been revoked; make a new one.", field=("id",)))
    return key


async def _require(
    session: Session, table: Any, ids: Sequence[UUID] | None, prefix: Prefix, field: str
) -> None:
    if ids is None:
        return
    found = set((await session.execute(sa.select(table.id).where(table.id.in_(ids)))).scalars())
    for index, id in enumerate(ids):
        if id not in found:
            shown = format_id(prefix, id)
            raise Refused(
                NotFound(message="There is nothing with this id.", field=(field, str(index)), id=shown)
            )
