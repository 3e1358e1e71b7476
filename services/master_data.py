"""Upserting master data, one entity or a hundred, each answered for itself.

Every kind (products, customers, …) goes the same way: its form is checked, it is
found and locked by id, external id or natural key, what is wrong with it is told,
and what is left is written in a few statements. One bad item stops no other.

A rival that makes the same entity at the same time is waited for by the unique
key; the item then begins again and finds what the rival made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.engine import Session
from db.events import Outbox
from domain.access import Principal
from domain.errors import AlreadyExists, InvalidInput, Refused
from domain.orders import Origin
from domain.upserts import MAX_BATCH, Upsert
from services import events, external_ids
from services.events import Event
from services.master_items import Item, Kind, camel_case, prepare
from services.outcomes import ItemOutcome

ATTEMPTS = 3
"""How often an item begins again after a rival has made the same entity."""


Step = Callable[[Session, Sequence[Item]], Awaitable[None]]


async def upsert(
    session: Session,
    kind: Kind,
    commands: Sequence[Upsert],
    *,
    actor: Principal,
    now: datetime,
    origin: Origin = Origin.PLACED,
    compare: Step | None = None,
    store: Step | None = None,
    tell: Callable[[Item], None] = lambda item: None,
) -> tuple[ItemOutcome, ...]:
    """Make or change each entity; the answers are in the order of the commands.

    `compare` looks at prepared items (what they change beside their own row goes
    into `also_changed`), `store` writes that after the rows, `tell` is called with
    each item that is done.
    """
    answers: list[ItemOutcome | None] = [None] * len(commands)
    waiting = list(enumerate(commands))
    for _ in range(ATTEMPTS):
        items = await prepare(session, kind, waiting, actor)
        if compare is not None:
            await compare(session, [item for item in items if not item.errors])
        lost = await _write(session, kind, items, actor=actor, now=now, origin=origin)
        if store is not None:
            await store(session, [item for item in items if item.to_write and item.index not in lost])
        for item in items:
            if item.index not in lost:
                answers[item.index] = ItemOutcome(None if item.errors else item.id, tuple(item.errors))
                tell(item)
        waiting = [pair for pair in waiting if pair[0] in lost]
        if not waiting:
            break
    taken = AlreadyExists(
        message="Another call is making this entity right now; send it again.", field=(), value=""
    )
    return tuple(answer or ItemOutcome(None, (taken,)) for answer in answers)


async def upsert_one(
    session: Session,
    kind: Kind,
    command: Upsert,
    *,
    actor: Principal,
    now: datetime,
    compare: Step | None = None,
    store: Step | None = None,
) -> UUID:
    """The same for one entity: its id, or Refused with everything that is wrong."""
    (outcome,) = await upsert(session, kind, (command,), actor=actor, now=now, compare=compare, store=store)
    if outcome.id is None:
        raise Refused(*outcome.errors)
    return outcome.id


def check_batch(items: Sequence[object], field_name: str = "items") -> None:
    """Refused for a batch that is empty or too long."""
    if not 1 <= len(items) <= MAX_BATCH:
        raise Refused(InvalidInput(message=f"Send 1 to {MAX_BATCH} items at once.", field=(field_name,)))


async def _write(
    session: Session,
    kind: Kind,
    items: Sequence[Item],
    *,
    actor: Principal,
    now: datetime,
    origin: Origin,
) -> set[int]:
    """Write the rows and their events; returns the indexes of items that a rival was faster with."""
    writing = [item for item in items if item.to_write]
    claims = [(name, item.id) for item in writing for name in item.new_names]
    claimed = await external_ids.claim(session, kind.name, claims, now=now)
    lost = {item.index for item in writing if not claimed.issuperset(item.new_names)}
    made = await _insert(
        session, kind, [item for item in writing if item.is_new and item.index not in lost], now
    )
    lost |= {item.index for item in writing if item.is_new and item.index not in lost and item.id not in made}
    if unmade := [item.id for item in writing if item.index in lost and item.is_new]:
        await external_ids.give_up(session, kind.name, unmade)
    written = [item for item in writing if item.index not in lost]
    await _update(session, kind, [item for item in written if not item.is_new], now)
    if written:
        await session.execute(
            sa.insert(Outbox),
            [row for item in written for row in _told(kind, item, actor=actor, now=now, origin=origin)],
        )
    return lost


async def _insert(session: Session, kind: Kind, items: Sequence[Item], now: datetime) -> set[UUID]:
    made: set[UUID] = set()
    for names, group in _by_columns((item.given, item) for item in items):
        rows = await session.execute(
            insert(kind.table).on_conflict_do_nothing().returning(kind.table.c.id),
            [
                {
                    **{name: item.given[name] for name in names},
                    "id": item.id,
                    "version": 1,
                    "created_at": now,
                    "updated_at": now,
                }
                for item in group
            ],
        )
        made.update(rows.scalars())
    return made


async def _update(session: Session, kind: Kind, items: Sequence[Item], now: datetime) -> None:
    table = kind.table
    for names, group in _by_columns((item.changed, item) for item in items):
        await session.execute(
            sa.update(table)
            .where(table.c.id == sa.bindparam("row_id", type_=sa.Uuid()))
            .values(
                {
                    **{table.c[name]: sa.bindparam(f"to_{name}", type_=table.c[name].type) for name in names},
                    table.c.version: table.c.version + 1,
                    table.c.updated_at: sa.bindparam("now", type_=table.c.updated_at.type),
                }
            ),
            [
                {
                    "row_id": item.id,
                    "now": now,
                    **{f"to_{name}": item.changed[name] for name in names},
                }
                for item in group
            ],
        )


def _by_columns(
    pairs: Iterable[tuple[dict[str, Any], Item]],
) -> list[tuple[tuple[str, ...], list[Item]]]:
    """Items that write the same columns share a statement."""
    groups: dict[tuple[str, ...], list[Item]] = {}
    for values, item in pairs:
        groups.setdefault(tuple(sorted(values)), []).append(item)
    return list(groups.items())


def _told(kind: Kind, item: Item, *, actor: Principal, now: datetime, origin: Origin) -> list[dict[str, Any]]:
    """The event of an item. It names the fields that changed, never what they hold: they may be personal."""
    about = kind.about(item)
    details: dict[str, Any] = {}
    if kind.natural_key is not None:
        details[camel_case(kind.natural_key)] = item.value(kind.natural_key)
    if not item.is_new:
        changed = {*item.changed, *item.also_changed, *(["external_ids"] if item.new_names else [])}
        details["changed"] = sorted(camel_case(name) for name in changed)
    return events.rows(
        events.Aggregate(
            kind=kind.name,
            id=item.id,
            version=0 if item.current is None else item.current.version,
            channel_id=about.get("channel_id"),
            customer_id=about.get("customer_id"),
            company_id=about.get("company_id"),
        ),
        [
            Event(
                type=kind.created if item.is_new else kind.updated,
                subject_kind=kind.name,
                subject_id=item.id,
                location_id=about.get("location_id"),
                product_id=about.get("product_id"),
                details=details,
            )
        ],
        actor=actor.account,
        now=now,
        origin=origin,
    )
