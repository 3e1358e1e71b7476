"""Customers and companies: made and changed one by one or a hundred at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from db.customers import Company, Customer
from db.engine import Session
from domain.access import Principal
from domain.customers import UpsertCompany, UpsertCustomer, check_company, check_customer
from domain.events import AggregateKind, EventType
from domain.ids import Prefix
from services.master_data import check_batch, upsert, upsert_one
from services.master_items import Item, Kind
from services.outcomes import ItemOutcome


def _permits(actor: Principal, item: Item) -> str | None:
    if actor.locations is not None:
        return "Your access is bounded to certain locations: it may not write customers."
    if actor.channels is not None and item.is_new and not item.names:
        return "Give it an external id: your access, bounded to channels, sees only whom it has named."
    return None


COMPANY = Kind(
    name=AggregateKind.COMPANY,
    table=Company.metadata.tables["company"],
    prefix=Prefix.COMPANY,
    natural_key=None,
    created=EventType.COMPANY_CREATED,
    updated=EventType.COMPANY_UPDATED,
    check=check_company,
    permits=_permits,
    about=lambda item: {"company_id": item.id},
)

CUSTOMER = Kind(
    name=AggregateKind.CUSTOMER,
    table=Customer.metadata.tables["customer"],
    prefix=Prefix.CUSTOMER,
    natural_key=None,  # several customers may share an e-mail address
    created=EventType.CUSTOMER_CREATED,
    updated=EventType.CUSTOMER_UPDATED,
    check=check_customer,
    permits=_permits,
    references={"company_id": (COMPANY.table, Prefix.COMPANY)},
    about=lambda item: {"customer_id": item.id, "company_id": item.value("company_id")},
)


async def upsert_company(
    session: Session, command: UpsertCompany, /, *, actor: Principal, now: datetime
) -> UUID:
    """Make the company or change the fields that were sent; returns its id."""
    return await upsert_one(session, COMPANY, command, actor=actor, now=now)


async def upsert_companies(
    session: Session, commands: Sequence[UpsertCompany], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100, each answered for itself."""
    check_batch(commands)
    return await upsert(session, COMPANY, commands, actor=actor, now=now)


async def upsert_customer(
    session: Session, command: UpsertCustomer, /, *, actor: Principal, now: datetime
) -> UUID:
    """Make the customer or change the fields that were sent; returns its id."""
    return await upsert_one(session, CUSTOMER, command, actor=actor, now=now)


async def upsert_customers(
    session: Session, commands: Sequence[UpsertCustomer], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100, each answered for itself."""
    check_batch(commands)
    return await upsert(session, CUSTOMER, commands, actor=actor, now=now)
