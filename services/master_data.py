"""Upserting master data, one entity or a hundred, each answered for itself.

Every kind (products, customers, …) goes the same way: its form is checked, it is
found and locked by id, external id or natural key, what is wrong with it is told,
and what is left is written in a few statements. One bad item stops no other.

A rival that makes the same entity at the same time is waited for by the unique
key; the item then begins again and finds what the rival made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY, insert

from db import visibility
from db.base import new_id
from db.engine import Session
from db.events import Outbox
from domain import ids
from domain.access import Principal, VisibilityClass
from domain.checks import Checks
from domain.errors import AlreadyExists, InvalidInput, NotFound, Refused, UserError
from domain.events import AggregateKind, EventType
from domain.ids import Prefix
from domain.orders import Origin
from domain.upserts import MAX_BATCH, ExternalName, Upsert, check_external_names
from services import events, external_ids
from services.events import Event
from services.outcomes import ItemOutcome

ATTEMPTS = 3
"""How often an item begins again after a rival has made the same entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How entities of one kind are stored, named, checked and told of.

    `permits` says in a sentence why this caller may not write this item, or None.
    `references` are fields that hold the id of another entity, which the caller
    must be able to see. `about` gives the ids that decide who sees the events.
    """

    name: AggregateKind
    table: sa.Table
    prefix: Prefix
    natural_key: str | None
    created: EventType
    updated: EventType
    check: Callable[[Checks, Any], None]
    permits: Callable[[Principal, Item], str | None]
    references: Mapping[str, tuple[sa.Table, Prefix]] = field(default_factory=dict)
    about: Callable[[Item], dict[str, UUID | None]] = lambda item: {}
    usual: Callable[[Any], dict[str, Any]] = lambda command: {}
    frozen: frozenset[str] = frozenset()
    """Columns that are said once, when the entity is made."""


@dataclass(slots=True)
class Item:
    """One item of a batch on its way: where it stands in the batch, what is there, what is to be written."""

    index: int
    command: Upsert
    id: UUID
    given: dict[str, Any]
    current: Row[Any] | None = None
    names: tuple[ExternalName, ...] = ()
    new_names: tuple[ExternalName, ...] = ()
    changed: dict[str, Any] = field(default_factory=dict)
    also_changed: set[str] = field(default_factory=set)
    errors: list[UserError] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        return self.current is None

    @property
    def to_write(self) -> bool:
        return not self.errors and (self.is_new or bool(self.changed or self.new_names or self.also_changed))

    def value(self, name: str) -> Any:
        """What the column will be, as far as it is known."""
        if name in self.given:
            return self.given[name]
        return None if self.current is None else self.current._mapping[name]

    def fail(self, message: str, *at: str) -> None:
        self.errors.append(InvalidInput(message=message, field=at))


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
        items = await _prepare(session, kind, waiting, actor)
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


async def _prepare(
    session: Session, kind: Kind, waiting: Sequence[tuple[int, Upsert]], actor: Principal
) -> list[Item]:
    items = [_begin(kind, index, command, actor) for index, command in waiting]
    named = await external_ids.find(session, kind.name, (name for item in items for name in item.names))
    rows = await _lock(session, kind, items, named, actor)
    by_id = {row.id: row for row in rows}
    by_key = {row._mapping[kind.natural_key]: row for row in rows} if kind.natural_key else {}
    for item in items:
        _identify(kind, item, named, by_id, by_key)
    _refuse_repetitions(kind, items)
    await _check_references(session, kind, items, actor)
    for item in items:
        _compare(kind, item, named)
        if not item.errors and (problem := kind.permits(actor, item)):
            item.fail(problem)
    return items


def _begin(kind: Kind, index: int, command: Upsert, actor: Principal) -> Item:
    checks = Checks()
    kind.check(checks, command)
    check_external_names(checks, command.external_ids, "externalIds")
    names = command.external_ids
    if actor.channels is not None:
        # A caller of one channel means that channel; with several it has to say which.
        if len(actor.channels) == 1:
            only = actor.channels[0]
            names = tuple(replace(name, channel_id=name.channel_id or only) for name in names)
        for position, name in enumerate(names):
            checks.that(
                name.channel_id in actor.channels,
                "Name one of your channels for this external id.",
                "externalIds",
                str(position),
                "channelId",
            )
    given = command.given()
    for column, value in given.items():
        if value is None and not kind.table.c[column].nullable:
            if column in ("metadata_", "private_metadata"):
                given[column] = {}
            else:
                checks.fail("It must not be null.", camel_case(column))
    return Item(
        index=index,
        command=command,
        id=command.id or new_id(),
        given=given,
        names=names,
        errors=checks.errors,
    )


async def _lock(
    session: Session,
    kind: Kind,
    items: Sequence[Item],
    named: Mapping[ExternalName, UUID],
    actor: Principal,
) -> Sequence[Row[Any]]:
    """Every entity that the items may mean, if the caller may see it, locked in the order of ids."""
    table = kind.table
    wanted = {item.command.id for item in items if item.command.id is not None} | set(named.values())
    conditions: list[sa.ColumnElement[bool]] = []
    values: dict[str, Any] = {}
    if wanted:
        conditions.append(table.c.id == sa.any_(sa.bindparam("ids", type_=ARRAY(sa.Uuid()))))
        values["ids"] = sorted(wanted)
    if kind.natural_key is not None:
        keys = {key for item in items if (key := item.given.get(kind.natural_key)) is not None}
        conditions.append(table.c[kind.natural_key] == sa.any_(sa.bindparam("keys", type_=ARRAY(sa.Text()))))
        values["keys"] = sorted(keys)
    if not conditions:
        return ()
    statement = (
        sa.select(table)
        .where(sa.or_(*conditions), visibility.predicate(table.name, table, VisibilityClass.of(actor)))
        .order_by(table.c.id)
        .with_for_update(of=table)
    )
    return (await session.execute(statement, {**values, **visibility.values(actor)})).all()


def _identify(
    kind: Kind,
    item: Item,
    named: Mapping[ExternalName, UUID],
    by_id: Mapping[UUID, Row[Any]],
    by_key: Mapping[Any, Row[Any]],
) -> None:
    """Find which entity the item means: by id, else by external id, else by natural key."""
    if item.errors:
        return
    means = {named[name] for name in item.names if name in named}
    if item.command.id is not None:
        means.add(item.command.id)
    if len(means) > 1:
        item.fail("The id and the external ids name different entities.", "externalIds")
        return
    key = item.given.get(kind.natural_key) if kind.natural_key else None
    holder = by_key.get(key) if key is not None else None
    if means:
        entity_id = means.pop()
        item.current = by_id.get(entity_id)
        if item.current is None:
            text = ids.format_id(kind.prefix, entity_id)
            message = f"There is no {text} that you may see."
            item.errors.append(NotFound(message=message, field=("id",), id=text))
            return
        item.id = entity_id
        if holder is not None and holder.id != entity_id:
            key_field = camel_case(kind.natural_key or "")
            message = f"Another one has this {key_field} already."
            item.errors.append(AlreadyExists(message=message, field=(key_field,), value=str(key)))
    elif holder is not None:
        item.current = holder
        item.id = holder.id


def _refuse_repetitions(kind: Kind, items: Sequence[Item]) -> None:
    """Two items of a batch that mean one entity contradict each other: the later one is refused."""
    seen: dict[object, int] = {}
    for item in items:
        if item.errors:
            continue
        marks: list[object] = [item.id, *item.names]
        if kind.natural_key and (key := item.given.get(kind.natural_key)) is not None:
            marks.append(key)
        earlier = next((seen[mark] for mark in marks if mark in seen), None)
        if earlier is None:
            seen.update(dict.fromkeys(marks, item.index))
        else:
            item.fail(f"Item {earlier} of this batch names the same entity.")


async def _check_references(session: Session, kind: Kind, items: Sequence[Item], actor: Principal) -> None:
    caller = VisibilityClass.of(actor)
    for name, (table, prefix) in kind.references.items():
        wanted = {item.given[name] for item in items if item.given.get(name) is not None}
        if not wanted:
            continue
        statement = sa.select(table.c.id).where(
            table.c.id.in_(wanted), visibility.predicate(table.name, table, caller)
        )
        found = set((await session.execute(statement, visibility.values(actor))).scalars())
        for item in items:
            if item.given.get(name) in wanted - found:
                text = ids.format_id(prefix, item.given[name])
                message = f"There is no {text} that you may see."
                item.errors.append(NotFound(message=message, field=(camel_case(name),), id=text))
    channels = {name.channel_id for item in items for name in item.names if name.channel_id}
    unknown = channels - await external_ids.known_channels(session, channels)
    for item in items:
        for position, name_ in enumerate(item.names):
            if name_.channel_id in unknown:
                text = ids.format_id(Prefix.CHANNEL, name_.channel_id)
                at = ("externalIds", str(position), "channelId")
                item.errors.append(NotFound(message=f"There is no {text}.", field=at, id=text))


def _compare(kind: Kind, item: Item, named: Mapping[ExternalName, UUID]) -> None:
    """Work out what the item changes, and whether it has all that a new entity needs."""
    if item.errors:
        return
    item.new_names = tuple(name for name in item.names if name not in named)
    if item.current is not None:
        now_is = item.current._mapping
        item.changed = {
            name: value for name, value in item.given.items() if now_is[kind.table.c[name]] != value
        }
        for name in sorted(kind.frozen & item.changed.keys()):
            item.fail("It is set once and never changes.", camel_case(name))
        return
    item.given = {**kind.usual(item.command), **item.given}
    for column in kind.table.columns:
        optional = column.nullable or column.server_default is not None or column.default is not None
        if not optional and column.name not in item.given:
            item.fail("A new one needs it.", camel_case(column.name))


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


_SHOWN = {
    "metadata_": "metadata",
    "currency": "currencyCode",
    "company_id": "companyId",
    "channel_id": "channelId",
}


def camel_case(name: str) -> str:
    """A column's name as the API's inputs call it."""
    if name in _SHOWN:
        return _SHOWN[name]
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)
