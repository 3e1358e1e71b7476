"""The shop that a storm rages in: made through the API, as anybody would make one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2

from app.auth import development_token, staff
from bench.storm.fleet import SECRET

HOT = "HOT"
"""The SKU that every fourth line asks for."""

SKUS = 30
OPENING_UNITS = 400
LOCATIONS = ("STORM-NORTH", "STORM-SOUTH")


@dataclass(frozen=True, slots=True)
class Shop:
    """The channel's id, and what is sold from where."""

    channel: str
    skus: tuple[str, ...]
    locations: tuple[str, ...] = LOCATIONS


async def open_shop(port: int) -> Shop:
    """One channel, two locations, a hot SKU and others, some of which may be backordered."""
    token = development_token(SECRET, staff("staff:storm-shop"))
    skus = tuple(f"SKU-{number:02}" for number in range(SKUS))
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {token}"}, timeout=30
    ) as http:

        async def do(query: str, **variables: Any) -> Any:
            response = await http.post("/graphql", json={"query": query, "variables": variables})
            answer = response.json()
            (payload,) = answer.get("data", {}).values() or [None]
            if answer.get("errors") or payload is None or payload["userErrors"]:
                raise RuntimeError(f"the shop cannot be opened: {answer}")
            return payload

        locations = [
            (
                await do(
                    "mutation($input: LocationUpsertInput!) { locationUpsert(input: $input) "
                    "{ location { id } userErrors { message } } }",
                    input={"code": code, "name": code, "kind": "WAREHOUSE"},
                )
            )["location"]["id"]
            for code in LOCATIONS
        ]
        channel = await do(
            "mutation($input: ChannelUpsertInput!) { channelUpsert(input: $input) "
            "{ channel { id } userErrors { message } } }",
            input={
                "code": "STORM",
                "name": "Storm",
                "kind": "ECOMMERCE",
                "currencyCode": "EUR",
                "pricingAuthority": "PARTNER",
                "collectedBy": "MERCHANT",
                "releaseGate": "AUTHORIZED",
                "locations": [{"locationId": found} for found in locations],
            },
        )
        await do(
            "mutation($inputs: [ProductUpsertInput!]!) { productsUpsert(inputs: $inputs) "
            "{ results { index userErrors { message } } userErrors { message } } }",
            inputs=[
                {"sku": sku, "name": sku, "backorderable": number % 5 == 1}
                for number, sku in enumerate((HOT, *skus))
            ],
        )
        await do(
            "mutation($inputs: [StockReceiveInput!]!, $key: String!) "
            "{ stockReceiveMany(inputs: $inputs, idempotencyKey: $key) "
            "{ results { index userErrors { message } } userErrors { message } } }",
            inputs=[
                {"sku": sku, "locationCode": code, "quantity": OPENING_UNITS}
                for sku in (HOT, *skus)
                for code in LOCATIONS
            ],
            key="storm-opening",
        )
    return Shop(channel["channel"]["id"], skus)
