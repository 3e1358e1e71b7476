"""schemathesis over the served schema as every kind of caller: what fits it and what does not, never a server error.

`OMS_TEST_SEED` gives other documents, `OMS_TEST_EXAMPLES` more of them for each root field.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.graphql import nodes
from schemathesis.specs.openapi.checks import negative_data_rejection, response_schema_conformance

from tests.security.conftest import Shop, Target
from tests.security.test_hostile import SEED, looks_right
from tests.security.values import NUMBERS, TEXTS

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("OMS_TEST_SEED", SEED))
EXAMPLES = int(os.environ.get("OMS_TEST_EXAMPLES", "4"))
CHECKED = [response_schema_conformance, negative_data_rejection]
"""Not `not_a_server_error`, which takes every error of a field for one unless it knows its code; `looks_right` does."""

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def describe_scalars(shop: Shop) -> None:
    """What schemathesis cannot know: our scalars, and ids that exist."""
    texts = [text for text in TEXTS if text.isprintable()]
    ids = st.sampled_from([id for some in shop.ids.values() for id in some])
    register = schemathesis.graphql.scalar
    register("ID", (ids | st.sampled_from(texts)).map(nodes.String))
    register(
        "Decimal",
        st.sampled_from(["1", "0.5", "-0", "1e40", "NaN", "0." + "9" * 37, "9" * 40]).map(nodes.String),
    )
    register("DateTime", st.datetimes().map(lambda when: nodes.String(when.isoformat() + "Z")))
    register(
        "BigInt", st.sampled_from([number for number in NUMBERS if isinstance(number, int)]).map(nodes.Int)
    )
    register("JSON", (st.sampled_from(texts).map(nodes.String)) | st.integers().map(nodes.Int))


@pytest.fixture(scope="module")
def callers(process: Target, shop: Shop) -> dict[str, dict[str, str]]:
    """The headers of each kind of caller: four kinds of tokens, an API key, nothing, and nonsense."""
    found = {name: process.headers(caller) for name, caller in shop.callers.items()}
    made = httpx2.post(
        f"{process.base}/graphql",
        headers=found["staff"],
        json={
            "query": 'mutation ($channels: [ID!]) { apiKeyCreate(idempotencyKey: "k", input: { name: "fuzz", '
            'scopes: ["orders:read", "orders:write", "stock:read"], channels: $channels }) { secret } }',
            "variables": {"channels": shop.ids["chn"][:1]},
        },
    ).json()
    found["API key"] = {"authorization": f"Bearer {made['data']['apiKeyCreate']['secret']}"}
    return found | {"nobody": {}, "nonsense": {"authorization": "Bearer 😀".encode().decode("latin-1")}}


@pytest.fixture
def schema(process: Target, shop: Shop, callers: dict[str, dict[str, str]]) -> Any:
    describe_scalars(shop)
    return schemathesis.graphql.from_url(f"{process.base}/graphql", headers=callers["staff"])


def test_no_document_of_any_caller_is_a_server_error(schema: Any, callers: dict[str, dict[str, str]]) -> None:
    session = requests.Session()
    faults: list[Exception] = []
    answered: Counter[tuple[str, bool]] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in MODES])

        @seed(SEED)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(cases, st.sampled_from(sorted(callers)))
        def attack(case: Any, other: str) -> None:
            for caller in ("staff", other):
                response = case.call(session=session, headers=callers[caller])
                answered[caller, "errors" not in response.json()] += 1
                looks_right(response)
                case.validate_response(response, checks=CHECKED, headers=callers[caller])

        try:
            attack()
        except Exception as fault:
            fault.add_note(operation.label)
            faults.append(fault)
    if faults:
        raise ExceptionGroup("faults", faults)
    assert {caller for caller, _ in answered} == set(callers)
    assert answered["staff", True], answered
