"""Revoked tokens, as the API shows and takes them."""

from __future__ import annotations

from datetime import datetime

import strawberry

from db import revocations as tables
from domain.access import Scope
from domain.revocations import RevokedKind, RevokeToken
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.plan import Node, column, planned


@planned(
    tables.Revocation,
    node="rev",
    scope=Scope.ACCESS_READ,
    description="Tokens that are refused although they have not expired. Staff with unbounded access see these.",
)
class Revocation(Node):
    kind: RevokedKind = column(tables.Revocation.kind, "One token, or all that a subject had by then.")
    value: str = column(tables.Revocation.value, "The token's id (`jti`), or the subject (`sub`).")
    reason: str | None = column(tables.Revocation.reason, "Why, in the words of who revoked it.")
    revoked_by: str = column(tables.Revocation.revoked_by, "The account that revoked it.")
    ends_at: datetime | None = column(
        tables.Revocation.ends_at, "When the token expires by itself; null when that is not known."
    )
    created_at: datetime = column(tables.Revocation.created_at, "When it was revoked.")


@strawberry.input(description="What to refuse from now on: a `tokenId` or a `subject`, one of the two.")
class TokenRevokeInput:
    token_id: str | None = strawberry.field(default=None, description="The token's id, its claim `jti`.")
    subject: str | None = strawberry.field(
        default=None,
        description=(
            "The claim `sub`: every token that it was issued until now. Those that it is issued from the next "
            "second on count again. A guest's is `guest:` and the order's UUID: it ends all links to that order."
        ),
    )
    ends_at: datetime | None = strawberry.field(
        default=None, description="When the token expires by itself, so that this may be forgotten then."
    )
    reason: str | None = strawberry.field(default=None, description="Why; at most 200 characters.")

    def to_command(self) -> RevokeToken:
        return RevokeToken(
            token_id=self.token_id, subject=self.subject, ends_at=self.ends_at, reason=self.reason
        )
