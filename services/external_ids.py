"""External ids: finding our entities by what partners' systems call them, and taking such names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from db import visibility
from db.base import new_id
from db.channels import Channel, ExternalId
from db.engine import Session
from domain.access import Principal, VisibilityClass
from domain.upserts import ExternalName

_TEXTS = ARRAY(sa.Text())
_UUIDS = ARRAY(sa.Uuid())

_named = (
    sa.func.unnest(
        sa.bindparam("systems", type_=_TEXTS),
        sa.bindparam("names", type_=_TEXTS),
        sa.bindparam("channels", type_=_UUIDS),
    )
    .table_valued(
        sa.column("system", sa.Text()), sa.column("name", sa.Text()), sa.column("channel_id", sa.Uuid())
    )
    .render_derived(name="named")
)
_FOUND = (
    sa.select(ExternalId.entity_id, ExternalId.system, ExternalId.channel_id, ExternalId.external_id)
    .join(
        _named,
        sa.and_(ExternalId.system == _named.c.system, ExternalId.external_id == _named.c.name),
    )
    .where(ExternalId.entity_kind == sa.bindparam("kind", type_=sa.Text()))
)
# Two statements, because an index serves `is null` and `=`, but not `is not distinct from`.
_EVERYWHERE = _FOUND.where(ExternalId.channel_id.is_(None))
_IN_CHANNELS = _FOUND.where(ExternalId.channel_id == _named.c.channel_id)


async def find(session: Session, kind: str, names: Iterable[ExternalName]) -> dict[ExternalName, UUID]:
    """The entities of `kind` (ORDER, PRODUCT, …) that these names are taken by."""
    wanted = set(names)
    found: dict[ExternalName, UUID] = {}
    for statement, part in (
        (_EVERYWHERE, [name for name in wanted if name.channel_id is None]),
        (_IN_CHANNELS, [name for name in wanted if name.channel_id is not None]),
    ):
        if not part:
            continue
        rows = await session.execute(
            statement,
            {
                "kind": kind,
                "systems": [name.system for name in part],
                "names": [name.id for name in part],
                "channels": [name.channel_id for name in part],
            },
        )
        for row in rows:
            name = ExternalName(system=row.system, id=row.external_id, channel_id=row.channel_id)
            found[name] = row.entity_id
    return found


async def claim(
    session: Session, kind: str, claims: Sequence[tuple[ExternalName, UUID]], *, now: datetime
) -> set[ExternalName]:
    """Give each entity its name; returns the names that could be had, which a rival's were not.

    In one order, so that two callers with the same names wait for each other and
    do not lock each other out.
    """
    if not claims:
        return set()
    ordered = sorted(claims, key=lambda pair: (pair[0].system, str(pair[0].channel_id), pair[0].id))
    taken = await session.execute(
        insert(ExternalId)
        .on_conflict_do_nothing()
        .returning(ExternalId.system, ExternalId.channel_id, ExternalId.external_id),
        [
            {
                "id": new_id(),
                "entity_kind": kind,
                "entity_id": entity_id,
                "system": name.system,
                "channel_id": name.channel_id,
                "external_id": name.id,
                "created_at": now,
            }
            for name, entity_id in ordered
        ],
    )
    return {ExternalName(system=row.system, id=row.external_id, channel_id=row.channel_id) for row in taken}


async def give_up(session: Session, kind: str, entity_ids: Sequence[UUID]) -> None:
    """Take back every name of entities that were not made after all."""
    await session.execute(
        sa.delete(ExternalId).where(ExternalId.entity_kind == kind, ExternalId.entity_id.in_(entity_ids))
    )


async def known_channels(session: Session, channel_ids: Iterable[UUID], actor: Principal) -> set[UUID]:
    """Which of these channels there are, for this caller."""
    wanted = sorted(set(channel_ids))
    if not wanted:
        return set()
    visible = visibility.predicate("channel", Channel.__table__, VisibilityClass.of(actor))
    statement = sa.select(Channel.id).where(Channel.id.in_(wanted), visible)
    rows = await session.execute(statement, visibility.values(actor))
    return set(rows.scalars())
