"""API keys, as the API shows and takes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
import strawberry
from sqlalchemy.dialects.postgresql import ARRAY

from db import api_keys as tables
from domain.access import Scope
from domain.api_keys import DEFAULT_OVERLAP, CreateApiKey, RotateApiKey
from domain.errors import InvalidInput, Refused
from domain.ids import Prefix, parse_id
from schema.plan import Node, column, expression, planned


@planned(
    tables.ApiKey,
    node="key",
    scope=Scope.ACCESS_READ,
    description=(
        "What a partner's system calls us with. Its account, in the record of what was done, is "
        "`key:` and its UUID. Staff with unbounded access see keys."
    ),
)
class ApiKey(Node):
    name: str = column(tables.ApiKey.name, "Whose it is, for people.")
    scopes: list[str] = column(tables.ApiKey.scopes, 'What it may do: "orders:read", ….')
    channels: list[strawberry.ID] | None = expression(
        lambda key: _global_ids(key.channels, Prefix.CHANNEL),
        "The channels it is bounded to (`chn_…`); null when to none.",
    )
    locations: list[strawberry.ID] | None = expression(
        lambda key: _global_ids(key.locations, Prefix.LOCATION),
        "The locations it is bounded to (`loc_…`); null when to none.",
    )
    created_at: datetime = column(tables.ApiKey.created_at, "When it was made.")
    created_by: str = column(tables.ApiKey.created_by, "The account that made it.")
    rotated_at: datetime | None = column(tables.ApiKey.rotated_at, "When it last got a new secret.")
    previous_ends_at: datetime | None = column(
        tables.ApiKey.previous_ends_at, "Until when the secret before the newest counts too."
    )
    expires_at: datetime | None = column(tables.ApiKey.expires_at, "When it ends by itself.")
    revoked_at: datetime | None = column(
        tables.ApiKey.revoked_at, "When it was revoked: it counts no longer."
    )
    revoked_by: str | None = column(tables.ApiKey.revoked_by, "The account that revoked it.")
    last_used_at: datetime | None = column(
        tables.ApiKey.last_used_at, "When it was last used, to the minute; null when it never was."
    )


def _global_ids(column: sa.ColumnElement[Sequence[UUID] | None], prefix: Prefix) -> sa.ColumnElement[object]:
    """NULL, no bound, stays NULL; an empty array, bound to nothing, stays empty."""
    id = sa.func.unnest(column).column_valued("id")
    texts = sa.select(sa.func.array_agg(sa.literal_column(f"'{prefix}_'").concat(sa.cast(id, sa.Text()))))
    none = sa.cast(sa.literal_column("'{}'"), ARRAY(sa.Text()))
    return sa.case((column.is_not(None), sa.func.coalesce(texts.scalar_subquery(), none)))


@strawberry.input(description="A key for one system of one partner.")
class ApiKeyCreateInput:
    name: str = strawberry.field(description="Whose it is, for people; at most 200 characters.")
    scopes: list[str] = strawberry.field(
        description='What it may do, of what you may do yourself: "orders:read", "stock:write", ….'
    )
    channels: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Bounds it to these channels (`chn_…`)."
    )
    locations: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Bounds it to these locations (`loc_…`)."
    )
    everywhere: bool = strawberry.field(
        default=False, description="Must be true for a key without any bounds: it sees everything."
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it ends by itself; without it, when it is revoked."
    )

    def to_command(self, digest: bytes) -> CreateApiKey:
        return CreateApiKey(
            name=self.name,
            scopes=frozenset(_scope(name, index) for index, name in enumerate(self.scopes)),
            channels=_ids(self.channels, Prefix.CHANNEL, "channels"),
            locations=_ids(self.locations, Prefix.LOCATION, "locations"),
            everywhere=self.everywhere,
            expires_at=self.expires_at,
            digest=digest,
        )


def rotation(id: strawberry.ID, overlap_seconds: int | None, digest: bytes) -> RotateApiKey:
    overlap = DEFAULT_OVERLAP if overlap_seconds is None else timedelta(seconds=overlap_seconds)
    key_id = parse_id(id, Prefix.API_KEY, field=("id",))
    return RotateApiKey(key_id=key_id, digest=digest, overlap=overlap)


def _scope(name: str, index: int) -> Scope:
    try:
        return Scope(name)
    except ValueError:
        message = "There is no such scope; docs/access.md lists them."
        raise Refused(InvalidInput(message=message, field=("scopes", str(index)))) from None


def _ids(given: Sequence[str] | None, prefix: Prefix, name: str) -> tuple[UUID, ...] | None:
    if given is None:
        return None
    return tuple(parse_id(id, prefix, field=(name, str(index))) for index, id in enumerate(given))
