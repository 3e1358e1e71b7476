"""Cursors of the event log: an epoch and a position, opaque to whoever holds one.

The same 24 bytes are made by SQL, for the fields of events, and by Python, for
whoever reads the log itself: 16 of the epoch, 8 of the position, as base64url.
A restore or a promotion changes the epoch, so that a cursor from before it is
recognised instead of pointing at other events.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIT

from db.events import Relay

LENGTH = 32
"""Characters: 24 bytes need no padding."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the log: everything up to and including `position` has been seen."""

    epoch: UUID
    position: int

    def __str__(self) -> str:
        raw = self.epoch.bytes + self.position.to_bytes(8, "big")
        return base64.urlsafe_b64encode(raw).decode("ascii")


def parse(text: str) -> Cursor | None:
    """The place that a cursor names, or None when it is not one."""
    if len(text) != LENGTH:
        return None
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return Cursor(epoch=UUID(bytes=raw[:16]), position=int.from_bytes(raw[16:], "big"))


def cursor_of(position: sa.ColumnElement[Any]) -> sa.ColumnElement[str | None]:
    """The cursor of a row, in SQL; null for an event that has no position yet."""
    # 15 bytes are 20 characters: what all cursors begin with is made once for a statement, not once for a row.
    epoch = sa.func.uuid_send(Relay.epoch)
    begin = sa.select(_base64url(sa.func.substring(epoch, 1, 15))).scalar_subquery()
    rest = sa.select(sa.func.substring(epoch, 16)).scalar_subquery()
    return begin.op("||")(_base64url(rest.op("||")(sa.func.int8send(position))))


def _base64url(raw: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.translate(sa.func.encode(raw, "base64"), "+/", "-_", type_=sa.Text())


def head() -> sa.ScalarSelect[Any]:
    """The cursor of the newest event in the log, as this snapshot sees it."""
    return sa.select(cursor_of(Relay.__table__.c.position)).scalar_subquery()


EXPIRED = "The log no longer reaches back to this cursor: read the current state, then follow from its head."
CURSOR_EXPIRED = "CURSOR_EXPIRED"


def position_of(cursor: sa.ColumnElement[str]) -> sa.ScalarSelect[int]:
    """The position of a cursor, in SQL; a foreign, an expired one or one that is ahead is refused."""
    raw = sa.func.decode(sa.func.translate(cursor, "-_", "+/"), "base64", type_=sa.LargeBinary())
    last = sa.func.encode(sa.func.substring(raw, 17), "hex", type_=sa.Text())
    position = sa.cast(sa.cast(sa.literal("x") + last, BIT(64)), sa.BigInteger())
    refuse = sa.func.oms_refuse(CURSOR_EXPIRED, EXPIRED, type_=sa.BigInteger())
    found = sa.case(
        (sa.not_(cursor.regexp_match(f"^[A-Za-z0-9_-]{{{LENGTH}}}$")), refuse),
        (sa.func.substring(raw, 1, 16) != sa.func.uuid_send(Relay.epoch), refuse),
        (sa.not_(position.between(Relay.horizon, Relay.position)), refuse),
        else_=position,
    )
    return sa.select(found).scalar_subquery()
