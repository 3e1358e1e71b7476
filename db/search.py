"""Finding rows by what people type and by what partners call them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from db.channels import ExternalId

CANDIDATES = 1_000
"""How many rows that `matches` finds are sorted at most: its index gives them in no order."""


_SIMPLE: sa.ColumnClause[Any] = sa.literal_column("'simple'::regconfig")


def matches(search: Any, text: Any, *, only: Any = None) -> sa.ColumnElement[bool]:
    """Whether a tsvector column holds, for every word of `text`, a word that begins with it.

    Words are quoted lexemes, so that no character of them is taken for an operator; a
    text without words finds nothing. `only` is the part of what was indexed that must hold the words by itself.
    """
    word = sa.func.regexp_split_to_table(text, r"\s+").table_valued("word", name="typed").render_derived()
    quoted = sa.func.replace(sa.func.replace(word.c.word, "\\", "\\\\"), "'", "''")
    query = (
        sa.select(
            sa.func.to_tsquery(
                _SIMPLE,
                sa.func.string_agg(sa.literal("'").concat(quoted).concat("':*"), " & "),
            )
        )
        .select_from(word)
        .where(word.c.word != "")
        .scalar_subquery()
    )
    found: sa.ColumnElement[bool] = search.op("@@", is_comparison=True)(query)
    if only is None:
        return found
    return sa.and_(found, sa.func.to_tsvector(_SIMPLE, only).op("@@", is_comparison=True)(query))


def matches_external_id(kind: str, entity_id: Any, wanted: Any) -> sa.ColumnElement[bool]:
    """Whether an entity of `kind` is what `wanted.system` calls `wanted.id` (in `wanted.channel_id`, if given)."""
    external = ExternalId.__table__.alias()
    conditions = [
        external.c.entity_kind == kind,
        external.c.system == wanted.system,
        external.c.external_id == wanted.id,
    ]
    if wanted.channel_id is not None:
        conditions.append(external.c.channel_id == wanted.channel_id)
    return entity_id.in_(sa.select(external.c.entity_id).where(*conditions))  # type: ignore[no-any-return] # a column
