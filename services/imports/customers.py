"""Customers, and the companies they buy for, from files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db.engine import Session
from domain.customers import UpsertCompany, UpsertCustomer
from domain.imports import RecordOutcome
from domain.order_commands import Address
from domain.orders import Origin
from domain.upserts import ABSENT, ExternalName
from services import external_ids
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


async def find_customers(session: Session, target: Target, names: Sequence[str]) -> dict[str, Any]:
    """Ids of the customers that the system calls so."""
    wanted = [ExternalName(system=target.system, id=name) for name in names]
    found = await external_ids.find(session, CUSTOMER.name, wanted)
    return {name.id: customer_id for name, customer_id in found.items()}
