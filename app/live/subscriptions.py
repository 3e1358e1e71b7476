"""From a subscription's root field to a place in the log that somebody follows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from graphql import GraphQLError

from app.live.audiences import Audience
from app.live.expiry import expired
from app.live.hub import Hub
from app.live.rendering import Key, Payload
from app.live.subscribers import Outlet, Subscriber
from db import cursors
from domain.access import Principal
from domain.errors import Refused
from schema.plan import Info
from schema.plan.operation import RequestError
from services.feed import Selection, Source


class SubscriptionPlan(Protocol):
    """What the planner makes of a subscription for one principal and one set of variables."""

    @property
    def response_key(self) -> str: ...

    @property
    def field_name(self) -> str: ...

    @property
    def function(self) -> Callable[..., Source]: ...

    @property
    def arguments(self) -> Mapping[str, Any]: ...

    @property
    def share_key(self) -> Hashable: ...

    async def render(
        self, connection: Any, keys: Sequence[Key], principal: Principal
    ) -> Mapping[Key, Payload]: ...


def refuse(plan: SubscriptionPlan, message: str, code: str) -> RequestError:
    return RequestError(GraphQLError(message, path=[plan.response_key], extensions={"code": code}))


async def subscribe(
    hub: Hub, plan: SubscriptionPlan, principal: Principal, outlet: Outlet, *, resume: str | None = None
) -> Subscriber:
    """Follow what the root field describes; `resume` is a cursor that the transport kept.

    Raises `RequestError` for a cursor that leads nowhere and for arguments that the
    root field refuses.
    """
    try:
        info = Info(None, plan.field_name, plan.arguments)
        source = plan.function(info, **plan.arguments)
    except Refused as refused:
        error = refused.errors[0]
        raise refuse(plan, error.message, error.code) from None
    selection = source.selection
    if source.skus is not None:
        selection = await _of_products(hub, plan, source)
    after = resume or source.after
    audience = hub.audience(plan, principal, plan.response_key, selection, source.snapshots, source.latest_by)
    position = hub.tail if after is None else await _place(hub, plan, audience, after)
    subscriber = Subscriber(hub, audience, outlet, position)
    subscriber.start()
    return subscriber


async def _place(hub: Hub, plan: SubscriptionPlan, audience: Audience, after: str) -> int:
    """The position of a cursor that this log can go on from."""
    cursor = cursors.parse(after)
    if (
        cursor is None
        or cursor.epoch != hub.epoch
        or cursor.position < hub.horizon
        or (cursor.position > hub.tail and cursor.position > (await hub.head()).position)
    ):
        extensions = await expired(hub, audience)
        raise RequestError(GraphQLError(cursors.EXPIRED, path=[plan.response_key], extensions=extensions))
    return cursor.position


async def _of_products(hub: Hub, plan: SubscriptionPlan, source: Source) -> Selection:
    skus = list(dict.fromkeys(source.skus or ()))
    products = await hub.products(skus)
    for sku in skus:
        if sku not in products:
            raise refuse(plan, f"There is no product with the SKU {sku[:80]!r}.", "NOT_FOUND")
    return source.selection.of_products(products.values())
