"""Root fields of customers and companies."""

from __future__ import annotations

from datetime import datetime

import strawberry

from db.search import CANDIDATES, matches, matches_external_id
from domain.access import Scope
from resolvers.batches import write_each
from resolvers.context import write
from schema.customers import Company, CompanyUpsertInput, Customer, CustomerUpsertInput
from schema.external_ids import ExternalIdFilter
from schema.plan import (
    Connection,
    Info,
    UserError,
    among,
    by,
    by_id,
    filter_input,
    mutation,
    no_errors,
    query_connection,
    query_one,
    ref,
    sort_enum,
    value_type,
    where,
)
from services.customers import upsert_companies, upsert_company, upsert_customer, upsert_customers


@filter_input(description="Which customers: each field that is given must hold.")
class CustomerFilter:
    ids: list[strawberry.ID] | None = among(lambda row: row.id, "One of these.", node="cus")
    companies: list[strawberry.ID] | None = among(
        lambda row: row.company_id, "Of one of these companies.", node="cmp"
    )
    emails: list[str] | None = among(
        lambda row: row.email,
        "With one of these e-mail addresses, as they were given.",
        scope=Scope.CUSTOMERS_CONTACT,
    )
    external_id: ExternalIdFilter | None = where(
        lambda row, v: matches_external_id("CUSTOMER", row.id, v), "That a partner's system calls so."
    )
    updated_from: datetime | None = where(lambda row, v: row.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda row, v: row.updated_at < v, "Changed before.")
    search: str | None = where(
        lambda row, v: matches(row.search, v),
        "Whose name or e-mail address holds words that begin so; without `customers:contact`, whose name.",
        candidates=CANDIDATES,
        scope=Scope.CUSTOMERS_CONTACT,
        unscoped=lambda row, v: matches(row.search, v, only=row.name),
    )


CustomerSort = sort_enum(
    "CustomerSort",
    "What customers can be sorted by.",
    default="NAME",
    NAME=lambda row: (row.name,),
    CREATED_AT=lambda row: (row.created_at,),
    UPDATED_AT=lambda row: (row.updated_at,),
)


@filter_input(description="Which companies: each field that is given must hold.")
class CompanyFilter:
    ids: list[strawberry.ID] | None = among(lambda row: row.id, "One of these.", node="cmp")
    external_id: ExternalIdFilter | None = where(
        lambda row, v: matches_external_id("COMPANY", row.id, v), "That a partner's system calls so."
    )
    updated_from: datetime | None = where(lambda row, v: row.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda row, v: row.updated_at < v, "Changed before.")


CompanySort = sort_enum(
    "CompanySort",
    "What companies can be sorted by.",
    default="CREATED_AT",
    CREATED_AT=lambda row: (row.created_at,),
    UPDATED_AT=lambda row: (row.updated_at,),
)


class CustomerQueries:
    customer: Customer | None = query_one(
        Customer,
        by=[
            by_id(),
            by(
                lambda row, external_id: matches_external_id("CUSTOMER", row.id, external_id),
                external_id=ExternalIdFilter,
            ),
        ],
        scope=Scope.CUSTOMERS_READ,
        description="One customer by id or by a partner's id; null when there is none that you may see.",
    )
    customers: Connection[Customer] = query_connection(
        Customer,
        scope=Scope.CUSTOMERS_READ,
        filter=CustomerFilter,
        sort=CustomerSort,
        description="The customers that you may see.",
    )
    company: Company | None = query_one(
        Company,
        by=[
            by_id(),
            by(
                lambda row, external_id: matches_external_id("COMPANY", row.id, external_id),
                external_id=ExternalIdFilter,
            ),
        ],
        scope=Scope.CUSTOMERS_READ,
        description="One company by id or by a partner's id; null when there is none that you may see.",
    )
    companies: Connection[Company] = query_connection(
        Company,
        scope=Scope.CUSTOMERS_READ,
        filter=CompanyFilter,
        sort=CompanySort,
        description="The companies that you may see.",
    )


@value_type(description="The customer, or why not.")
class CustomerUpsertPayload:
    customer: Customer | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class CustomerUpsertResult:
    index: int
    customer: Customer | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class CustomersUpsertPayload:
    results: list[CustomerUpsertResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.CUSTOMERS_WRITE,
    description=(
        "Makes a customer or changes the fields that are sent. "
        "Without an id or an external id it makes one: hence the idempotency key."
    ),
)
async def customer_upsert(
    info: Info, input: CustomerUpsertInput, idempotency_key: str
) -> CustomerUpsertPayload:
    customer_id = await write(info, upsert_customer, input.to_command(), key=idempotency_key)
    return CustomerUpsertPayload(customer=ref(Customer, customer_id))


@mutation(
    scope=Scope.CUSTOMERS_WRITE,
    description="Makes or changes up to 100 customers. Each is answered for itself: one bad item stops no other.",
)
async def customers_upsert(
    info: Info, inputs: list[CustomerUpsertInput], idempotency_key: str
) -> CustomersUpsertPayload:
    return CustomersUpsertPayload(
        results=[
            CustomerUpsertResult(
                index=index, customer=ref(Customer, found) if found is not None else None, user_errors=errors
            )
            for index, found, errors in await write_each(info, upsert_customers, inputs, idempotency_key)
        ]
    )


@value_type(description="The company, or why not.")
class CompanyUpsertPayload:
    company: Company | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class CompanyUpsertResult:
    index: int
    company: Company | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class CompaniesUpsertPayload:
    results: list[CompanyUpsertResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.CUSTOMERS_WRITE,
    description=(
        "Makes a company or changes the fields that are sent. "
        "Without an id or an external id it makes one: hence the idempotency key."
    ),
)
async def company_upsert(info: Info, input: CompanyUpsertInput, idempotency_key: str) -> CompanyUpsertPayload:
    company_id = await write(info, upsert_company, input.to_command(), key=idempotency_key)
    return CompanyUpsertPayload(company=ref(Company, company_id))


@mutation(
    scope=Scope.CUSTOMERS_WRITE,
    description="Makes or changes up to 100 companies. Each is answered for itself: one bad item stops no other.",
)
async def companies_upsert(
    info: Info, inputs: list[CompanyUpsertInput], idempotency_key: str
) -> CompaniesUpsertPayload:
    return CompaniesUpsertPayload(
        results=[
            CompanyUpsertResult(
                index=index, company=ref(Company, found) if found is not None else None, user_errors=errors
            )
            for index, found, errors in await write_each(info, upsert_companies, inputs, idempotency_key)
        ]
    )
