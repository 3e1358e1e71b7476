"""What a subscriber is told when the log does not lead on from its cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from app.live.rendering import LOST
from db.cursors import CURSOR_EXPIRED, Cursor

if TYPE_CHECKING:
    from app.live.audiences import Audience
    from app.live.hub import Hub

LOOKED_AT = 20
"""Of the newest events the last that may be seen is shown, if it is one of so many."""


async def expired(hub: Hub, audience: Audience) -> dict[str, Any]:
    """The error's extensions: its code, the head to go on from, and for one order or return how it stands.

    The head is read first: what happens until the snapshot is read comes again, and nothing is missed.
    While the database is away there is only the code.
    """
    extensions: dict[str, Any] = {"code": CURSOR_EXPIRED}
    try:
        head = await hub.head()
        extensions["head"] = str(Cursor(head.epoch, head.position))
        if audience.selection.single:
            extensions["snapshot"] = await _snapshot(hub, audience)
    except (*LOST, asyncpg.PostgresError):
        return extensions
    return extensions


async def _snapshot(hub: Hub, audience: Audience) -> Any:
    if audience.snapshots is None:
        keys: list[Any] = await hub.newest(audience.selection, LOOKED_AT)
    else:
        keys = list(audience.selection.orders or ())
    rendered = await audience.rendering.render(keys)
    for key in keys:
        if key in rendered:
            return next(iter((orjson.loads(rendered[key])["data"] or {}).values()), None)
    return None
