"""Root fields of portal links."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import strawberry

from domain.access import Scope
from domain.errors import InvalidInput, Refused
from domain.guest_tokens import DEFAULT_LIFETIME, CreateGuestToken
from domain.ids import Prefix, parse_id
from resolvers.context import write
from schema.plan import Info, UserError, mutation, no_errors, value_type
from services.guest_tokens import create_guest_token


@value_type(description="The token of a portal link, or why there is none.")
class OrderGuestTokenPayload:
    token: str | None = strawberry.field(
        default=None,
        description=(
            "Whoever has it sees this one order as its customer does: put it into the link behind a #, and let "
            "the portal send it as `Authorization: Bearer …`."
        ),
    )
    expires_at: datetime | None = strawberry.field(default=None, description="When it ends.")
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.ORDERS_WRITE,
    description=(
        "Makes a token for one order, for a guest's portal link: by default for 30 days, at most for 180. It is "
        "ended before by `tokenRevoke`, its subject being `guest:` and the order's UUID."
    ),
)
async def order_guest_token_create(
    info: Info,
    order_id: strawberry.ID,
    lifetime_seconds: int | None = None,
    idempotency_key: str | None = None,
) -> OrderGuestTokenPayload:
    sign = info.context.sign_guest_token
    if sign is None:
        raise Refused(InvalidInput(message="Portal links are off here: OMS_GUEST_LINK_SECRET is not set."))
    lifetime = DEFAULT_LIFETIME if lifetime_seconds is None else timedelta(seconds=lifetime_seconds)
    command = CreateGuestToken(
        order_id=parse_id(order_id, Prefix.ORDER, field=("orderId",)), lifetime=lifetime
    )
    order, token_id, begins, ends = await write(info, create_guest_token, command, key=idempotency_key)
    issued_at, expires_at = (datetime.fromtimestamp(seconds, UTC) for seconds in (begins, ends))
    return OrderGuestTokenPayload(token=sign(order, token_id, issued_at, expires_at), expires_at=expires_at)
