"""Root fields of revoked tokens."""

from __future__ import annotations

from domain.access import Scope
from resolvers.context import write
from schema.plan import (
    Connection,
    Info,
    UserError,
    mutation,
    no_errors,
    query_connection,
    ref,
    value_type,
)
from schema.revocations import Revocation, TokenRevokeInput
from services.revocations import revoke_token


class RevocationQueries:
    revocations: Connection[Revocation] = query_connection(
        Revocation,
        scope=Scope.ACCESS_READ,
        order_by=lambda revocation: (revocation.created_at,),
        descending=True,
        description="The tokens that were revoked, the newest first.",
    )


@value_type(description="What is refused now, or why not.")
class TokenRevokePayload:
    revocation: Revocation | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.ACCESS_WRITE,
    description=(
        "Refuses tokens of the identity provider, or of portal links, before they expire. Requests with them are "
        "refused and their open sockets closed (4403) within two seconds. Only staff with unbounded access may."
    ),
)
async def token_revoke(
    info: Info, input: TokenRevokeInput, idempotency_key: str | None = None
) -> TokenRevokePayload:
    found = await write(info, revoke_token, input.to_command(), key=idempotency_key)
    return TokenRevokePayload(revocation=ref(Revocation, found))
