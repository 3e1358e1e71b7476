"""Changing what an order says without changing its goods or its money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.order_commands import Address, check_address, check_priority
from domain.upserts import ABSENT, Absent, sent


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOrder:
    """What is ABSENT stays; None clears."""

    order_id: UUID
    email: str | Absent | None = ABSENT
    phone: str | Absent | None = ABSENT
    shipping_address: Address | Absent | None = ABSENT
    billing_address: Address | Absent | None = ABSENT
    note: str | Absent | None = ABSENT
    priority: int | Absent = ABSENT
    metadata: Mapping[str, Any] | Absent = ABSENT
    expected_version: int | None = None

    def changes(self) -> dict[str, Any]:
        """Columns of the order and their new values."""
        given: dict[str, Any] = {
            "email": self.email,
            "phone": self.phone,
            "shipping_address": self.shipping_address,
            "billing_address": self.billing_address,
            "note": self.note,
            "priority": self.priority,
            "metadata_": self.metadata,
        }
        return {name: _stored(name, value) for name, value in given.items() if not isinstance(value, Absent)}


def _stored(name: str, value: Any) -> Any:
    if name.endswith("_address"):
        return value.to_json() if value is not None else {}
    return dict(value) if isinstance(value, Mapping) else value


def check_update_order(command: UpdateOrder) -> None:
    """Refused with every error of form at once."""
    checks = Checks()
    checks.email(sent(command.email), "email")
    checks.text(sent(command.phone), text.MAX_PHONE, "phone")
    checks.text(sent(command.note), text.MAX_NOTE, "note", multiline=True)
    check_address(checks, sent(command.shipping_address), "shippingAddress")
    check_address(checks, sent(command.billing_address), "billingAddress")
    check_priority(checks, sent(command.priority))
    checks.metadata(sent(command.metadata), "metadata")
    checks.refuse()
