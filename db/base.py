"""The declarative base: naming, column types, and the shapes every table shares.

The classes are the one source for migrations, plans and services. They are used
as Core tables (`Order.__table__`, `select(Order.id)`): there is no identity map
and nothing is ever loaded lazily.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from asyncpg.pgproto.pgproto import UUID as DriverUUID
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, mapped_column
from uuid_utils import uuid7

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

JSONObject = dict[str, Any]

MAX_QUANTITY = 1_000_000
MAX_AMOUNT = 10**15
"""Bounds of the API, held again by CHECK constraints: units, and minor units of money."""


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        datetime: TIMESTAMP(timezone=True),
        str: sa.Text(),
        int: sa.Integer(),
        UUID: sa.Uuid(),
        JSONObject: JSONB(),
        # Native enums break downgrade-then-upgrade, so text with a CHECK.
        enum.Enum: sa.Enum(enum.Enum, native_enum=False, create_constraint=True, length=40),
    }


def new_id() -> UUID:
    """A time-ordered UUID (version 7): new rows land at the right edge of their index."""
    return DriverUUID(uuid7().bytes)  # made, compared and sent in a third of the time of Python's own


Id = Annotated[UUID, mapped_column(primary_key=True, default=new_id)]
CreatedAt = Annotated[datetime, mapped_column(server_default=sa.func.now())]
UpdatedAt = Annotated[datetime, mapped_column(server_default=sa.func.now())]
Metadata = Annotated[JSONObject, mapped_column(JSONB(), server_default=sa.text("'{}'::jsonb"), default=dict)]
PrivateMetadata = Annotated[
    JSONObject,
    mapped_column(JSONB(), server_default=sa.text("'{}'::jsonb"), default=dict),
]
Amount = Annotated[int, mapped_column(sa.BigInteger(), server_default=sa.text("0"), default=0)]
"""Money in minor units of the row's currency."""
Quantity = Annotated[int, mapped_column(sa.Integer(), server_default=sa.text("0"), default=0)]
Version = Annotated[int, mapped_column(sa.BigInteger(), server_default=sa.text("0"), default=0)]
"""How many events the aggregate has had; raised under its row lock."""
Flag = Annotated[bool, mapped_column(sa.Boolean(), server_default=sa.text("false"), default=False)]
Currency = Annotated[str, mapped_column(sa.CHAR(3))]


def foreign(target: str, **options: Any) -> Any:
    """A foreign key column to `table.column`; restricts deletes, because nothing acknowledged is lost."""
    index = options.pop("index", False)
    return mapped_column(sa.ForeignKey(target, **options), index=index)


def check(sql: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(sql, name=name)


def not_negative(*columns: str) -> sa.CheckConstraint:
    """One CHECK for a row's counters: cheaper than one each, and as strict."""
    return check(" and ".join(f"{column} >= 0" for column in columns), "not_negative")
