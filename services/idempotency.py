"""Idempotency keys: taken first in a transaction, finished with the outcome before its COMMIT."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from db.engine import Session
from db.idempotency import IdempotencyKey
from domain.errors import IdempotencyConflict, IdempotencyInProgress, Refused
from services import outcomes

Held = tuple[str, str]
"""An account and its key."""

_TEXTS = ARRAY(sa.Text())
_keys = (
    sa.func.unnest(
        sa.bindparam("accounts", type_=_TEXTS),
        sa.bindparam("keys", type_=_TEXTS),
        sa.bindparam("values", type_=_TEXTS),
    )
    .table_valued(sa.column("account", sa.Text()), sa.column("key", sa.Text()), sa.column("value", sa.Text()))
    .render_derived(name="given")
)
_IS_GIVEN = sa.and_(IdempotencyKey.account == _keys.c.account, IdempotencyKey.key == _keys.c.key)

# In one order, so that two groups with the same keys wait for each other and do not lock each other out.
_TAKE = (
    insert(IdempotencyKey)
    .from_select(
        ["account", "key", "fingerprint"],
        sa.select(_keys.c.account, _keys.c.key, sa.func.decode(_keys.c.value, "hex")).order_by(
            _keys.c.account, _keys.c.key
        ),
    )
    .on_conflict_do_nothing()
    .returning(sa.func.now(), IdempotencyKey.account, IdempotencyKey.key)
)
_taken = _TAKE.cte("taken")
_pair = sa.func.json_build_array(_taken.c.account, _taken.c.key)
ALONG = (
    sa.func.now().label("now"),
    sa.select(sa.func.json_agg(_pair, type_=sa.JSON())).select_from(_taken).scalar_subquery().label("taken"),
)
"""Columns that take keys along with what their statement reads. Its parameters and its first row are `Taking`'s."""
_LOOK = sa.select(IdempotencyKey.fingerprint, IdempotencyKey.outcome, IdempotencyKey.finished_at).where(
    IdempotencyKey.account == sa.bindparam("account"), IdempotencyKey.key == sa.bindparam("key")
)
_FINISH = (
    sa.update(IdempotencyKey)
    .where(_IS_GIVEN)
    .values(outcome=sa.cast(_keys.c.value, JSONB), finished_at=sa.func.now())
)
_LET_GO = sa.delete(IdempotencyKey).where(_IS_GIVEN)


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key as its caller sent it, and a digest of what it was sent with."""

    key: str
    fingerprint: bytes
    made: bool = False
    """Made here: only an earlier attempt of the same call can hold it."""

    @classmethod
    def of(cls, key: str | None, *what: str | bytes) -> Key:
        """A caller that sends no key gets one made, so that its ambiguous COMMIT can be settled too."""
        digest = hashlib.sha256()
        for part in what:
            encoded = part.encode() if isinstance(part, str) else part
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        made = key is None
        return cls(key=f"made-{uuid4()}" if key is None else key, fingerprint=digest.digest(), made=made)


class Repeated(Exception):
    """The key was used before, with the same input; `outcome` is what came of it."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome


class Taking:
    """(account, key) pairs to be taken, waiting for rivals that hold one: along with the first thing that is read
    for them, by a statement that selects `ALONG` too, else by a statement of their own."""

    def __init__(self, keys: Sequence[tuple[str, Key]]) -> None:
        self.parameters = {
            "accounts": [account for account, _ in keys],
            "keys": [key.key for _, key in keys],
            "values": [key.fingerprint.hex() for _, key in keys],
        }
        self.done = False
        self._now: datetime | None = None
        self._free: set[Held] = set()

    def note(self, now: datetime, taken: Sequence[Sequence[str]] | None) -> None:
        """What the statement selected as `ALONG`."""
        self.done, self._now = True, now
        self._free = {(account, key) for account, key in taken or ()}

    async def free(self, session: Session) -> tuple[datetime | None, set[Held]]:
        """Those that were free, and by now are taken.

        The time is the transaction's: the database's clock is the only one.
        """
        if not self.done:
            taken = await session.fetch(_TAKE, self.parameters)
            if taken:
                self.note(taken[0][0], [pair for _, *pair in taken])
        return self._now, self._free


async def take(session: Session, account: str, key: Key) -> datetime:
    """Take one key. Raises Repeated, or Refused with IdempotencyInProgress or IdempotencyConflict."""
    try:
        now, free = await Taking([(account, key)]).free(session)
    except asyncpg.LockNotAvailableError as error:
        if key.made:
            raise
        message = "A call with this idempotency key is still running; try again."
        raise Refused(
            IdempotencyInProgress(message=message, field=("idempotencyKey",), key=key.key)
        ) from error
    if now is not None and free:
        return now
    ((fingerprint, outcome, finished_at),) = await session.fetch(_LOOK, {"account": account, "key": key.key})
    if fingerprint != key.fingerprint:
        message = "This idempotency key was used for another input."
        raise Refused(IdempotencyConflict(message=message, field=("idempotencyKey",), key=key.key))
    if finished_at is None:
        raise RuntimeError(f"idempotency key {key.key!r} was committed without an outcome")
    raise Repeated(outcomes.decode(outcome))


async def finish(session: Session, finished: Sequence[tuple[Held, Any]]) -> None:
    """Store the outcomes under keys that were taken in this transaction."""
    await session.execute(
        _FINISH,
        {
            "accounts": [account for (account, _), _ in finished],
            "keys": [key for (_, key), _ in finished],
            "values": [orjson.dumps(outcomes.encode(outcome)).decode() for _, outcome in finished],
        },
    )


async def let_go(session: Session, held: Sequence[Held]) -> None:
    """Give up keys that were taken in this transaction: what they were taken for is not done."""
    if held:
        await session.execute(
            _LET_GO,
            {
                "accounts": [account for account, _ in held],
                "keys": [key for _, key in held],
                "values": [""] * len(held),
            },
        )
