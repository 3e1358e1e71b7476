"""Customers, and the companies they buy for, from files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from db.channels import ExternalId
from db.customers import Customer
from db.engine import Session
from domain.customers import UpsertCompany, UpsertCustomer
from domain.imports import RecordOutcome
from domain.order_commands import Address
from domain.orders import Origin
from domain.upserts import ABSENT, ExternalName
from services.customers import COMPANY, CUSTOMER
from services.imports.outcomes import Target, of_item, part_of, refused, rounds
from services.imports.reading import Record
from services.master_data import upsert
from services.master_items import Item


async def import_customers(
    session: Session, target: Target, records: Sequence[Record]
) -> dict[int, RecordOutcome]:
    """Make or change the customers; the outcomes are by record number."""
    outcomes: dict[int, RecordOutcome] = {}
    for part in rounds(records, "external_id"):
        companies = await _import_companies(session, target, part, outcomes)
        accepted = [record for record in part if record.number not in outcomes]
        commands = [_customer(target, record, companies) for record in accepted]

        def tell(item: Item, accepted: list[Record] = accepted) -> None:
            outcomes[accepted[item.index].number] = of_item(item)

        await upsert(
            session,
            CUSTOMER,
            commands,
            actor=target.actor,
            now=target.now,
            origin=Origin.IMPORTED,
            tell=tell,
        )
    return outcomes


async def _import_companies(
    session: Session, target: Target, records: Sequence[Record], outcomes: dict[int, RecordOutcome]
) -> dict[ExternalName, Any]:
    """Companies by name; several customers of a file may buy for one, which the first of them describes."""
    commands: dict[ExternalName, UpsertCompany] = {}
    first: dict[ExternalName, list[Record]] = {}
    for record in records:
        company = part_of(record.values, "company")
        if "external_id" not in company:
            continue
        name = ExternalName(system=target.system, id=str(company["external_id"]))
        first.setdefault(name, []).append(record)
        values: dict[str, Any] = {field: company.get(field, ABSENT) for field in ("name", "tax_number")}
        commands.setdefault(name, UpsertCompany(external_ids=(name,), **values))
    answers = await upsert(
        session,
        COMPANY,
        list(commands.values()),
        actor=target.actor,
        now=target.now,
        origin=Origin.IMPORTED,
    )
    for name, answer in zip(commands, answers, strict=True):
        if answer.errors:
            for record in first[name]:
                outcomes[record.number] = refused(answer.errors)
    return {name: answer.id for name, answer in zip(commands, answers, strict=True)}


def _customer(target: Target, record: Record, companies: dict[ExternalName, Any]) -> UpsertCustomer:
    values: dict[str, Any] = record.values
    company = part_of(values, "company").get("external_id")
    name = ExternalName(system=target.system, id=str(company))
    address: dict[str, Any] = part_of(values, "address")
    metadata = part_of(values, "metadata")
    return UpsertCustomer(
        external_ids=(ExternalName(system=target.system, id=values.get("external_id", "")),),
        name=values.get("name", ABSENT),
        company_id=ABSENT if company is None else companies[name],
        email=values.get("email", ABSENT),
        phone=values.get("phone", ABSENT),
        locale=values.get("locale", ABSENT),
        address=Address(**address) if address else ABSENT,
        metadata_=metadata or ABSENT,
    )


class KnownCustomer(NamedTuple):
    """What an order takes from its customer."""

    id: UUID
    company_id: UUID | None
    email: str | None
    phone: str | None


_FIND = (
    sa.select(ExternalId.external_id, Customer.id, Customer.company_id, Customer.email, Customer.phone)
    .join(Customer, Customer.id == ExternalId.entity_id)
    .where(
        ExternalId.entity_kind == CUSTOMER.name,
        ExternalId.system == sa.bindparam("system", type_=sa.Text()),
        ExternalId.channel_id.is_(None),
        ExternalId.external_id == sa.any_(sa.bindparam("names", type_=ARRAY(sa.Text()))),
    )
)


async def find_customers(session: Session, system: str, names: Iterable[str]) -> dict[str, KnownCustomer]:
    """The customers that the system calls so."""
    rows = await session.fetch(_FIND, {"system": system, "names": sorted(set(names))})
    return {row[0]: KnownCustomer._make(row[1:]) for row in rows}
