"""The one schema: every noun's root fields, put together."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig

from resolvers import (
    api_keys,
    audit,
    channels,
    customers,
    discrepancies,
    events,
    fulfillment,
    guest_tokens,
    locations,
    order_intake,
    orders,
    payments,
    prices,
    privacy,
    products,
    returns,
    revocations,
    shipments,
    stock,
    stock_intake,
)
from schema.errors import ERROR_TYPES
from schema.plan import SCALARS, NodeQueries, root

NOUNS = (
    api_keys,
    audit,
    channels,
    customers,
    discrepancies,
    events,
    fulfillment,
    guest_tokens,
    locations,
    order_intake,
    orders,
    payments,
    prices,
    privacy,
    products,
    returns,
    revocations,
    shipments,
    stock,
    stock_intake,
)


def make_schema() -> strawberry.Schema:
    """The schema that is served, and that `schema/schema.graphql` holds."""
    queries = [
        declared
        for noun in NOUNS
        for name, declared in vars(noun).items()
        if name.endswith("Queries") and getattr(declared, "__module__", None) == noun.__name__
    ]
    mutations = [noun for noun in NOUNS if noun is not events]
    return strawberry.Schema(
        query=root("Query", NodeQueries, *queries, description="What can be asked."),
        mutation=root(
            "Mutation",
            *mutations,
            description=(
                "What can be done. Every payload has `userErrors`: failures you can act on. When there are any, "
                "nothing has changed."
            ),
        ),
        subscription=root("Subscription", events, description="What can be followed."),
        types=list(ERROR_TYPES),
        config=StrawberryConfig(scalar_map=SCALARS),
    )
