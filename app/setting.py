"""How a setting is declared."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo


def setting(default: Any, meaning: str, *, write: str, unit: str = "", shown: str = "", **bounds: Any) -> Any:
    """A setting: its default, its meaning, what to write when it is wrong, and its unit.

    `shown` stands for a default that is computed.
    """
    return Field(
        default,
        description=meaning,
        json_schema_extra={"write": write, "unit": unit, "shown": shown},
        **bounds,
    )


def extra_of(field: FieldInfo) -> dict[str, str]:
    """What `setting` was told beside the default and the meaning."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)  # noqa: S101 - `setting` makes every field
    return {key: str(value) for key, value in extra.items()}
