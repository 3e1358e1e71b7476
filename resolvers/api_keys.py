"""Root fields of API keys."""

from __future__ import annotations

import secrets

import strawberry

from domain.access import Scope
from domain.api_keys import SECRET_BYTES, RevokeApiKey, digest_of, text_of
from domain.ids import Prefix, parse_id
from resolvers.context import write
from schema.api_keys import ApiKey, ApiKeyCreateInput, rotation
from schema.plan import (
    Connection,
    Info,
    UserError,
    by_id,
    filter_input,
    mutation,
    no_errors,
    query_connection,
    query_one,
    ref,
    sort_enum,
    value_type,
    where,
)
from services.api_keys import create_api_key, revoke_api_key, rotate_api_key


@filter_input(description="Which keys: each field that is given must hold.")
class ApiKeyFilter:
    revoked: bool | None = where(
        lambda key, v: key.revoked_at.is_not(None) == v, "Only those that were revoked, or only the others."
    )


ApiKeySort = sort_enum(
    "ApiKeySort",
    "What API keys can be sorted by.",
    default="NAME",
    NAME=lambda key: (key.name,),
    CREATED_AT=lambda key: (key.created_at,),
)


class ApiKeyQueries:
    api_key: ApiKey | None = query_one(
        ApiKey,
        by=by_id(),
        scope=Scope.ACCESS_READ,
        description="One API key; null when there is none that you may see.",
    )
    api_keys: Connection[ApiKey] = query_connection(
        ApiKey,
        scope=Scope.ACCESS_READ,
        filter=ApiKeyFilter,
        sort=ApiKeySort,
        description="The API keys of partners, revoked ones included.",
    )


@value_type(description="The key, and its secret this once; or why not.")
class ApiKeySecretPayload:
    api_key: ApiKey | None
    secret: str | None = strawberry.field(
        default=None,
        description=(
            "What the partner sends as `Authorization: Bearer …`. It is shown now and never again: only a digest "
            "is kept. Null when the call repeats an earlier one with the same idempotency key."
        ),
    )
    user_errors: list[UserError] = no_errors()


@value_type(description="The key, or why not.")
class ApiKeyPayload:
    api_key: ApiKey | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.ACCESS_WRITE,
    description=(
        "Makes an API key for a partner's system. Bound it to channels or locations, or say `everywhere`; it can "
        "have only scopes that you have. Only staff with unbounded access may."
    ),
)
async def api_key_create(info: Info, input: ApiKeyCreateInput, idempotency_key: str) -> ApiKeySecretPayload:
    secret = secrets.token_urlsafe(SECRET_BYTES)
    command = input.to_command(digest_of(secret))
    key_id, digest = await write(info, create_api_key, command, key=idempotency_key)
    shown = text_of(key_id, secret) if digest == command.digest.hex() else None
    return ApiKeySecretPayload(api_key=ref(ApiKey, key_id), secret=shown)


@mutation(
    scope=Scope.ACCESS_WRITE,
    description=(
        "Gives a key a new secret. The one before counts for another `overlapSeconds` (by default 7 days, at most "
        "90, 0 for not at all); one older than that ends now. Account, scopes and bounds stay."
    ),
)
async def api_key_rotate(
    info: Info, id: strawberry.ID, idempotency_key: str, overlap_seconds: int | None = None
) -> ApiKeySecretPayload:
    secret = secrets.token_urlsafe(SECRET_BYTES)
    command = rotation(id, overlap_seconds, digest_of(secret))
    key_id, digest = await write(info, rotate_api_key, command, key=idempotency_key)
    shown = text_of(key_id, secret) if digest == command.digest.hex() else None
    return ApiKeySecretPayload(api_key=ref(ApiKey, key_id), secret=shown)


@mutation(
    scope=Scope.ACCESS_WRITE,
    description=(
        "Ends a key for good. Requests with it are refused and its open sockets closed (4403) within two seconds."
    ),
)
async def api_key_revoke(info: Info, id: strawberry.ID, idempotency_key: str | None = None) -> ApiKeyPayload:
    command = RevokeApiKey(key_id=parse_id(id, Prefix.API_KEY, field=("id",)))
    found = await write(info, revoke_api_key, command, key=idempotency_key)
    return ApiKeyPayload(api_key=ref(ApiKey, found))
