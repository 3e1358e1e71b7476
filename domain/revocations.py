"""What of a token can be revoked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain import text
from domain.errors import InvalidInput, Refused


class RevokedKind(StrEnum):
    """One TOKEN by its id (`jti`), or all that a SUBJECT (`sub`) had been issued until then."""

    TOKEN = "TOKEN"  # noqa: S105 - a kind, no password
    SUBJECT = "SUBJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """Exactly one of the two; `ends_at` is when the token expires by itself, if that is known."""

    token_id: str | None
    subject: str | None
    ends_at: datetime | None
    reason: str | None


def check_revoke(command: RevokeToken) -> tuple[RevokedKind, str]:
    """What is revoked, and its value; Refused for anything but exactly one."""
    given = [
        (kind, value, name)
        for kind, value, name in (
            (RevokedKind.TOKEN, command.token_id, "tokenId"),
            (RevokedKind.SUBJECT, command.subject, "subject"),
        )
        if value is not None
    ]
    if len(given) != 1:
        raise Refused(InvalidInput(message="Name a tokenId or a subject, one of the two."))
    ((kind, value, name),) = given
    text.require(value, text.MAX_NAME, field=(name,))
    if command.reason is not None:
        text.require(command.reason, text.MAX_LINE, field=("reason",))
    return kind, value
