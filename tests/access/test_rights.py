"""What the documentation says of rights is what the code does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app import rights
from app.auth import PARTNER_SCOPES
from db import visibility
from db.models import Base
from domain.access import (
    ALL_SCOPES,
    PORTAL_SCOPES,
    STAFF_SCOPES,
    Principal,
    PrincipalKind,
    Scope,
    VisibilityClass,
)
from domain.rights import ALL, NONE, ROWS, SCOPES
from resolvers.root import make_schema
from schema.plan.catalog import catalog_of
from schema.plan.reading import Call
from tests.serving import Api, served
from tests.world import STAFF

ACCESS = Path(__file__).parents[2] / "docs" / "access.md"
COLUMNS = {
    "channels": VisibilityClass(PrincipalKind.PARTNER, True, False, False, ALL_SCOPES),
    "locations": VisibilityClass(PrincipalKind.PARTNER, False, True, False, ALL_SCOPES),
    "customer": VisibilityClass(PrincipalKind.CUSTOMER, False, False, True, ALL_SCOPES),
    "guest": VisibilityClass(PrincipalKind.GUEST, False, False, False, ALL_SCOPES),
}

OF_A_PARENT = ("price", "reservation_line", "fulfillment_order_line")
"""Their SQL asks for the row that they hang on, of which nothing may be seen."""


@pytest.fixture
async def shared(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as api:
        yield api


def test_the_table_in_the_repository_is_what_the_code_says() -> None:
    assert ACCESS.read_text().strip() == rights.markdown().strip(), "run: oms access --write"


def test_every_scope_and_every_table_is_told_of() -> None:
    assert set(SCOPES) == set(Scope)
    assert set(ROWS) == set(visibility.RULES)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("table", sorted(ROWS))
def test_all_and_none_are_what_the_sql_says(table: str, column: str) -> None:
    source: Any = Base.metadata.tables.get(table)
    row = source.alias() if source is not None else sa.table(table, *map(sa.column, (
        "id", "order_id", "channel_id", "customer_id", "company_id", "location_id", "type", "product_id",
    )))  # fmt: skip
    predicate = str(visibility.predicate(table, row, COLUMNS[column]).compile())
    told = getattr(ROWS[table], column)
    if table in OF_A_PARENT:
        predicate = "false" if "false" in predicate else predicate
    assert (predicate == "true") == (told == ALL), predicate
    assert (predicate == "false") == (told == NONE), predicate


def test_no_partner_and_no_portal_has_what_is_staffs_alone() -> None:
    assert not PARTNER_SCOPES & STAFF_SCOPES
    assert not PORTAL_SCOPES & STAFF_SCOPES


def test_every_mutation_needs_a_scope_that_writes_and_says_so() -> None:
    catalog = catalog_of(make_schema())
    mutation = catalog.schema.mutation_type
    assert mutation is not None
    for name, field in mutation.fields.items():
        read = catalog.read(field)
        assert isinstance(read, Call), name
        assert read.scope is not None, name
        assert not read.scope.endswith(":read"), name
        assert f"Needs `{read.scope}`." in (field.description or ""), name


UPSERT = """
mutation ($input: CustomerUpsertInput!) {
  customerUpsert(input: $input, idempotencyKey: "k") { customer { id } userErrors { field message } }
}
"""


def without(scope: Scope, caller: Principal = STAFF) -> Principal:
    return Principal(kind=caller.kind, account=caller.account, scopes=caller.scopes - {scope})


async def test_private_metadata_is_written_only_with_its_scope(database_url: str) -> None:
    async with served(database_url, workers=False) as api:
        given = {"input": {"name": "Ada", "privateMetadata": {"score": 1}}}
        refused = (await api.data(without(Scope.METADATA_PRIVATE), UPSERT, given))["customerUpsert"]
        assert refused["customer"] is None
        assert [error["field"] for error in refused["userErrors"]] == [["privateMetadata"]]
        assert (await api.data(STAFF, UPSERT, given))["customerUpsert"]["userErrors"] == []


@pytest.mark.parametrize(
    ("query", "scope"),
    [
        ("{ customers { nodes { email } } }", Scope.CUSTOMERS_CONTACT),
        ("{ customers { nodes { phone } } }", Scope.CUSTOMERS_CONTACT),
        ("{ customers { nodes { address { city } } } }", Scope.CUSTOMERS_CONTACT),
        ("{ companies { nodes { taxNumber } } }", Scope.CUSTOMERS_CONTACT),
        ("{ orders { nodes { email phone } } }", Scope.CUSTOMERS_CONTACT),
        ("{ orders { nodes { shippingAddress { line1 } } } }", Scope.CUSTOMERS_CONTACT),
        ("{ orders { nodes { privateMetadata } } }", Scope.METADATA_PRIVATE),
        ("{ orders { nodes { holds { placedBy } } } }", Scope.ACTORS_READ),
        ("{ orders { nodes { holds { releasedBy } } } }", Scope.ACTORS_READ),
        ("{ stockLevels { nodes { movements { nodes { actor } } } } }", Scope.ACTORS_READ),
        ("{ products { nodes { cost { amount } } } }", Scope.COSTS_READ),
        ("{ discrepancies { nodes { resolvedBy } } }", Scope.ACTORS_READ),
        ("{ auditEntries { nodes { id } } }", Scope.AUDIT_READ),
        ("{ apiKeys { nodes { id } } }", Scope.ACCESS_READ),
        ("{ revocations { nodes { id } } }", Scope.ACCESS_READ),
    ],
)
async def test_a_sensitive_field_refuses_the_operation_of_who_lacks_its_scope(
    shared: Api, query: str, scope: Scope
) -> None:
    answer = await shared.answer(without(scope), query)
    assert "data" not in answer
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert "errors" not in await shared.answer(STAFF, query)
