"""Upserts of master data: how an entity is addressed, and what "not sent" means.

A field that was not sent keeps its value; one sent as None is cleared. The entity
is found by our id, else by an external id, else by its natural key (a code, a
SKU); when none of them finds one, it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final, TypeVar
from uuid import UUID

from domain import text
from domain.checks import Checks

MAX_BATCH = 100
"""Items of one bulk mutation."""
MAX_EXTERNAL_IDS = 20
"""External ids of one entity that one call may name."""

T = TypeVar("T")


class Absent(Enum):
    """The one value that says a field was not sent."""

    ABSENT = "ABSENT"


ABSENT: Final = Absent.ABSENT


def sent(value: T | Absent) -> T | None:
    """The value for a check: None, which passes, when it was not sent."""
    return None if isinstance(value, Absent) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalName:
    """What `system` calls an entity of ours; within one channel, or (None) everywhere."""

    system: str
    id: str
    channel_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """The address of what is to be made or changed; subclasses add its fields."""

    id: UUID | None = None
    external_ids: tuple[ExternalName, ...] = ()

    def given(self) -> dict[str, Any]:
        """The fields that were sent, by name; `id` and `external_ids` are the address."""
        return {
            field.name: value
            for field in fields(self)
            if field.name not in ("id", "external_ids")
            and not isinstance(value := getattr(self, field.name), Absent)
        }


def check_external_names(checks: Checks, names: tuple[ExternalName, ...], *at: str) -> None:
    """Each system calls an entity one thing per channel."""
    few = len(names) <= MAX_EXTERNAL_IDS
    distinct = len({(name.system, name.channel_id) for name in names}) == len(names)
    message = f"There are at most {MAX_EXTERNAL_IDS} external ids, one per system and channel."
    checks.that(few and distinct, message, *at)
    for index, name in enumerate(names[:MAX_EXTERNAL_IDS]):
        checks.code(name.system, *at, str(index), "system")
        checks.text(name.id, text.MAX_EXTERNAL_ID, *at, str(index), "id")


def check_metadata(checks: Checks, command: Mapping[str, Any]) -> None:
    """Both kinds of metadata, where they were sent."""
    checks.metadata(command.get("metadata_"), "metadata")
    checks.metadata(command.get("private_metadata"), "privateMetadata")
