"""Master data on its way in: each item of a batch checked, found, locked and compared with what is there.

Nothing is written here; `master_data` does that with the items that have no errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db import visibility
from db.base import new_id
from db.engine import Session
from domain import ids
from domain.access import Principal, Scope, VisibilityClass
from domain.checks import Checks
from domain.errors import AlreadyExists, InvalidInput, NotFound, UserError
from domain.events import AggregateKind, EventType
from domain.ids import Prefix
from domain.rights import needs
from domain.upserts import ExternalName, Upsert, check_external_names
from services import external_ids


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


async def prepare(
    session: Session, kind: Kind, waiting: Sequence[tuple[int, Upsert]], actor: Principal
) -> list[Item]:
    """The items of these commands, each with what is wrong with it or with what it changes."""
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
    if "private_metadata" in given:
        checks.that(
            actor.may(Scope.METADATA_PRIVATE),
            f"You may not write private metadata. {needs(Scope.METADATA_PRIVATE)}",
            "privateMetadata",
        )
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
    if actor.channels is not None:
        channels &= set(actor.channels)  # of others it has been told that they are not its own
    unknown = channels - await external_ids.known_channels(session, channels, actor)
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
