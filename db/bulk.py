"""Many rows at once: COPY, in the server's binary form, which is made of templates.

Of the columns of many rows most hold the same in all of them, or in a few kinds of them. A `Form`
holds these ready, and a row costs one formatting of bytes, however many columns it has.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from uuid_utils import uuid7

from db.base import Base
from db.engine import Session

NULL = b"\xff\xff\xff\xff"

_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_integer = struct.Struct("!ii").pack
_bigint = struct.Struct("!iq").pack


# Values as they are sent: their length in bytes, then they themselves.


def new_id() -> bytes:
    """A new row's id: `db.base.new_id`, as it is sent."""
    return b"\0\0\0\x10" + uuid7().bytes


def uuid(value: UUID | None) -> bytes:
    return NULL if value is None else b"\0\0\0\x10" + value.bytes


def id_of(sent: bytes) -> UUID:
    """The id that was sent so."""
    return UUID(bytes=sent[4:])


def text(value: str | None) -> bytes:
    """Texts and enumerations. UnicodeEncodeError for what is no text, such as half of a surrogate pair."""
    if value is None:
        return NULL
    encoded = value.encode()
    return len(encoded).to_bytes(4, "big") + encoded


def integer(value: int) -> bytes:
    return _integer(4, value)


def bigint(value: int) -> bytes:
    """Amounts and versions."""
    return _bigint(8, value)


def instant(value: datetime | None) -> bytes:
    """A time with its offset."""
    if value is None:
        return NULL
    since = value - _EPOCH
    return _bigint(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def document(value: Any) -> bytes:
    """JSONB, of which 1 is the version."""
    encoded = orjson.dumps(value)
    return (len(encoded) + 1).to_bytes(4, "big") + b"\1" + encoded


def _sends(type_: sa.types.TypeEngine[Any]) -> Callable[[Any], bytes]:
    for kind, sends in (
        (sa.Uuid, uuid),
        (sa.String, text),
        (sa.BigInteger, bigint),
        (sa.Integer, integer),
        (sa.DateTime, instant),
        (JSONB, document),
    ):
        if isinstance(type_, kind) and not isinstance(type_, sa.SmallInteger):
            return cast("Callable[[Any], bytes]", sends)
    raise TypeError(f"nobody has said yet how {type_!r} is sent")


class Shape(NamedTuple):
    """What COPY is told: a table, and which of its columns come. Others get their default."""

    table: type[Base]
    columns: tuple[str, ...]


class Form:
    """Rows of one table: filled in where all are the same, with blanks where they differ.

    A blank is a column's name, or those of several whose values come in one piece.
    """

    def __init__(self, table: type[Base], blanks: Sequence[str], /, **same: Any) -> None:
        columns = cast("sa.Table", table.__table__).c
        names = [*" ".join(blanks).split(), *same]
        self.shape = Shape(table, tuple(columns[name].name for name in names))
        filled = b"".join(
            NULL if value is None else _sends(columns[name].type)(value) for name, value in same.items()
        )
        count = len(names).to_bytes(2, "big")
        self._text = _literal(count) + b"%b" * len(blanks) + _literal(filled)

    def row(self, *values: bytes) -> bytes:
        """A row, of its blanks' values as they are sent."""
        return self._text % values


def _literal(part: bytes) -> bytes:
    return part.replace(b"%", b"%%")


class Rows:
    """Rows to add, by their shape."""

    def __init__(self) -> None:
        self._rows: defaultdict[Shape, list[bytes]] = defaultdict(list)

    def add(self, form: Form, *values: bytes) -> None:
        self._rows[form.shape].append(form.row(*values))

    def take(self, others: Rows) -> None:
        for shape, rows in others._rows.items():
            self._rows[shape] += rows

    async def insert(self, session: Session, order: Iterable[type[Base]]) -> None:
        """Add them, one statement a shape, tables in this order.

        Constraints and foreign keys hold as for any other insert.
        """
        places = {table: place for place, table in enumerate(order)}
        for shape in sorted(self._rows, key=lambda shape: places[shape.table]):
            connection = await session.driver()
            await connection.copy_to_table(
                shape.table.__tablename__,
                columns=shape.columns,
                source=_sent(self._rows[shape]),
                format="binary",
            )


async def _sent(rows: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield b"".join((_BEGIN, *rows, _END))
