"""Customers, and the companies some of them buy for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.order_commands import Address, check_address
from domain.upserts import ABSENT, Absent, Upsert, check_metadata, sent

MAX_TAX_NUMBER = 40
MAX_LOCALE = 35
"""RFC 5646, 4.4.1: the longest language tag that must be supported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertCompany(Upsert):
    name: str | Absent = ABSENT
    tax_number: str | Absent | None = ABSENT
    metadata_: Mapping[str, Any] | Absent | None = ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertCustomer(Upsert):
    """A customer; `address` is where it usually is, orders keep their own."""

    name: str | Absent = ABSENT
    company_id: UUID | Absent | None = ABSENT
    email: str | Absent | None = ABSENT
    phone: str | Absent | None = ABSENT
    address: Address | Absent | None = ABSENT
    locale: str | Absent | None = ABSENT
    metadata_: Mapping[str, Any] | Absent | None = ABSENT
    private_metadata: Mapping[str, Any] | Absent | None = ABSENT

    def given(self) -> dict[str, Any]:
        values = Upsert.given(self)
        if "address" in values:
            values["address"] = values["address"].to_json() if values["address"] else {}
        return values


def check_company(checks: Checks, command: UpsertCompany) -> None:
    """Collect what is wrong with the form of the fields that were sent."""
    checks.text(sent(command.name), text.MAX_NAME, "name")
    checks.text(sent(command.tax_number), MAX_TAX_NUMBER, "taxNumber")
    check_metadata(checks, command.given())


def check_customer(checks: Checks, command: UpsertCustomer) -> None:
    """Collect what is wrong with the form of the fields that were sent."""
    checks.text(sent(command.name), text.MAX_NAME, "name")
    checks.email(sent(command.email), "email")
    checks.text(sent(command.phone), text.MAX_PHONE, "phone")
    check_address(checks, sent(command.address), "address")
    checks.text(sent(command.locale), MAX_LOCALE, "locale")
    check_metadata(checks, command.given())
