"""How long a portal link may show its order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from domain.errors import InvalidInput, Refused

DEFAULT_LIFETIME = timedelta(days=30)
SHORTEST_LIFETIME = timedelta(minutes=1)
LONGEST_LIFETIME = timedelta(days=180)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGuestToken:
    order_id: UUID
    lifetime: timedelta


def check_lifetime(lifetime: timedelta) -> None:
    if not SHORTEST_LIFETIME <= lifetime <= LONGEST_LIFETIME:
        shortest, longest = (int(end.total_seconds()) for end in (SHORTEST_LIFETIME, LONGEST_LIFETIME))
        raise Refused(
            InvalidInput(message=f"From {shortest} to {longest} seconds.", field=("lifetimeSeconds",))
        )
