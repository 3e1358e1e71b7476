"""Locations: warehouses, stores and third-party logistics sites that hold stock."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, JSONObject, Metadata, PrivateMetadata, UpdatedAt, Version
from domain.stock import LocationKind


class Location(Base):
    __tablename__ = "location"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    kind: Mapped[LocationKind]
    address: Mapped[JSONObject] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    metadata_: Mapped[Metadata]
    private_metadata: Mapped[PrivateMetadata]
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
