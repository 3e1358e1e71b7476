"""Customers and companies, as the API shows and takes them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry
from strawberry.scalars import JSON

from db import customers as tables
from domain.access import Scope
from domain.customers import UpsertCompany, UpsertCustomer
from domain.ids import Prefix, parse_id
from schema.addresses import Address, AddressInput
from schema.external_ids import ExternalIdInput, as_sent, global_id_of, json_object, to_names
from schema.plan import BigInt, Connection, Node, column, connection, embedded, many, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.external_ids import ExternalId
    from schema.orders import Order


@planned(
    tables.Company,
    node="cmp",
    scope=Scope.CUSTOMERS_READ,
    description="A company that customers buy for.",
)
class Company(Node):
    name: str = column(tables.Company.name, "Its name.")
    tax_number: str | None = column(
        tables.Company.tax_number, "Its VAT or tax number.", scope=Scope.CUSTOMERS_CONTACT
    )
    version: BigInt = column(tables.Company.version, "How often it has changed.")
    created_at: datetime = column(tables.Company.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.Company.updated_at, "When it last changed.")
    metadata: JSON = column(tables.Company.metadata_, "Whatever its partners keep on it; not interpreted.")
    external_ids: list[ExternalId] = many(
        "ExternalId",
        lambda company, external: external.entity_id == company.id,
        order_by=lambda external: (external.system, external.external_id),
        description="What partners' systems call it.",
        visible_with_parent=False,
        size=2,
    )
    customers: Connection[Customer] = connection(
        "Customer",
        lambda company, customer: customer.company_id == company.id,
        order_by=lambda customer: (),
        description="Who buys for it.",
        visible_with_parent=False,
    )


@planned(
    tables.Customer,
    node="cus",
    scope=Scope.CUSTOMERS_READ,
    description="Somebody who buys. Orders keep their own copy of contact and address.",
)
class Customer(Node):
    name: str = column(tables.Customer.name, "The customer's name.")
    email: str | None = column(
        tables.Customer.email, "The e-mail address; not unique.", scope=Scope.CUSTOMERS_CONTACT
    )
    phone: str | None = column(tables.Customer.phone, "The telephone number.", scope=Scope.CUSTOMERS_CONTACT)
    address: Address = embedded(
        tables.Customer.address, "The usual postal address.", scope=Scope.CUSTOMERS_CONTACT
    )
    locale: str | None = column(tables.Customer.locale, 'A language tag, such as "pt-BR".')
    company: Company | None = one(
        "Company", lambda customer, company: company.id == customer.company_id, "The company it buys for."
    )
    erased_at: datetime | None = column(
        tables.Customer.erased_at, "When the person was taken out; what they bought stays."
    )
    version: BigInt = column(tables.Customer.version, "How often it has changed.")
    created_at: datetime = column(tables.Customer.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.Customer.updated_at, "When it last changed.")
    metadata: JSON = column(tables.Customer.metadata_, "Whatever its partners keep on it; not interpreted.")
    private_metadata: JSON = column(
        tables.Customer.private_metadata, "The same, for staff.", scope=Scope.METADATA_PRIVATE
    )
    external_ids: list[ExternalId] = many(
        "ExternalId",
        lambda customer, external: external.entity_id == customer.id,
        order_by=lambda external: (external.system, external.external_id),
        description="What partners' systems call it.",
        visible_with_parent=False,
        size=2,
    )
    orders: Connection[Order] = connection(
        "Order",
        lambda customer, order: order.customer_id == customer.id,
        order_by=lambda order: (order.placed_at,),
        descending=True,
        description="What it has bought, the newest first.",
        visible_with_parent=False,
        scope=Scope.ORDERS_READ,
    )


@strawberry.input(
    description=(
        "A company to make or change, found by `id` or by an external id; without either, one is made. "
        "A field that is left out keeps its value; null clears it."
    )
)
class CompanyUpsertInput:
    id: strawberry.ID | None = None
    external_ids: list[ExternalIdInput] = strawberry.field(default_factory=list)
    name: str | None = strawberry.UNSET
    tax_number: str | None = strawberry.UNSET
    metadata: JSON | None = strawberry.UNSET

    def to_command(self) -> UpsertCompany:
        return UpsertCompany(
            id=parse_id(self.id, Prefix.COMPANY, field=("id",)) if self.id is not None else None,
            external_ids=to_names(self.external_ids),
            name=as_sent(self.name),
            tax_number=as_sent(self.tax_number),
            metadata_=as_sent(self.metadata, json_object("metadata")),
        )


@strawberry.input(
    description=(
        "A customer to make or change, found by `id` or by an external id; without either, one is made. "
        "A field that is left out keeps its value; null clears it."
    )
)
class CustomerUpsertInput:
    id: strawberry.ID | None = None
    external_ids: list[ExternalIdInput] = strawberry.field(default_factory=list)
    name: str | None = strawberry.UNSET
    company_id: strawberry.ID | None = strawberry.UNSET
    email: str | None = strawberry.UNSET
    phone: str | None = strawberry.UNSET
    address: AddressInput | None = strawberry.UNSET
    locale: str | None = strawberry.field(
        default=strawberry.UNSET, description='A language tag, such as "pt-BR".'
    )
    metadata: JSON | None = strawberry.UNSET
    private_metadata: JSON | None = strawberry.UNSET

    def to_command(self) -> UpsertCustomer:
        return UpsertCustomer(
            id=parse_id(self.id, Prefix.CUSTOMER, field=("id",)) if self.id is not None else None,
            external_ids=to_names(self.external_ids),
            name=as_sent(self.name),
            company_id=as_sent(self.company_id, global_id_of(Prefix.COMPANY, "companyId")),
            email=as_sent(self.email),
            phone=as_sent(self.phone),
            address=as_sent(self.address, AddressInput.to_address),
            locale=as_sent(self.locale),
            metadata_=as_sent(self.metadata, json_object("metadata")),
            private_metadata=as_sent(self.private_metadata, json_object("privateMetadata")),
        )
