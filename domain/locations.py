"""Locations: where stock lies and orders are sent from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain import text
from domain.checks import Checks
from domain.order_commands import Address, check_address
from domain.stock import LocationKind
from domain.upserts import ABSENT, Absent, Upsert, check_metadata, sent


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertLocation(Upsert):
    """A location; `time_zone` is a name of the IANA database, such as Europe/Berlin."""

    code: str | Absent = ABSENT
    name: str | Absent = ABSENT
    kind: LocationKind | Absent = ABSENT
    address: Address | Absent | None = ABSENT
    time_zone: str | Absent = ABSENT
    active: bool | Absent = ABSENT
    metadata_: Mapping[str, Any] | Absent | None = ABSENT
    private_metadata: Mapping[str, Any] | Absent | None = ABSENT

    def given(self) -> dict[str, Any]:
        values = Upsert.given(self)
        if "address" in values:
            values["address"] = values["address"].to_json() if values["address"] else {}
        return values


def check_location(checks: Checks, command: UpsertLocation) -> None:
    """Collect what is wrong with the form of the fields that were sent."""
    checks.code(sent(command.code), "code")
    checks.text(sent(command.name), text.MAX_NAME, "name")
    check_address(checks, sent(command.address), "address")
    checks.text(sent(command.time_zone), text.MAX_CODE, "timeZone")
    check_metadata(checks, command.given())
