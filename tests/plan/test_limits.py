"""Limits: measured in one walk, whatever the document tries."""

from __future__ import annotations

import time

import orjson
import pytest

from domain.access import VisibilityClass
from schema.plan.limits import Limits
from schema.plan.operation import RequestError
from schema.plan.planner import Planner, _Recent
from tests.plan import toys
from tests.plan.conftest import STAFF, Shop


def limit_of(error: RequestError) -> str:
    return str((error.errors[0].extensions or {}).get("limit"))


def refused_by(planner: Planner, text: str) -> str:
    started = time.perf_counter()
    with pytest.raises(RequestError) as caught:
        planner.plan(planner.operation(text, None), {}, VisibilityClass.of(STAFF))
    assert time.perf_counter() - started < 0.5
    return limit_of(caught.value)


def test_each_bound_refuses_what_passes_it(planner: Planner) -> None:
    nested = "{ orders { nodes " + "{ lines { order " * 7 + "{ id }" + " } }" * 7 + " } }"
    assert refused_by(planner, nested) == "depth"
    assert refused_by(planner, "{ " + " ".join(f"a{n}: head" for n in range(20)) + " head }") == "root_fields"
    aliases = " ".join(f"a{n}: id" for n in range(51))
    assert refused_by(planner, f"{{ orders {{ nodes {{ {aliases} }} }} }}") == "aliases"
    directives = " ".join("@include(if: true)" for _ in range(51))
    assert refused_by(planner, f"{{ head {directives} }}") == "directives"
    assert (
        refused_by(planner, "{ orders(first: 100) { nodes { events(first: 100) { nodes { type } } } } }")
        == "cost"
    )
    with pytest.raises(RequestError, match="Syntax Error"):
        planner.operation("{ " + "head " * 4001 + "}", None)


def test_a_fan_of_fragments_is_refused_at_once(planner: Planner) -> None:
    fan = "query { orders { nodes { ...F0 } } }" + "".join(
        f" fragment F{n} on Order {{ a{n}: person {{ orders {{ nodes {{ ...F{n + 1} }} }} }}"
        f" b{n}: person {{ orders {{ nodes {{ ...F{n + 1} }} }} }} }}"
        for n in range(40)
    )
    text = fan + " fragment F40 on Order { id }"
    assert refused_by(planner, text) in ("aliases", "depth")
    flat = "query { orders { nodes { ...G0 } } }" + "".join(
        f" fragment G{n} on Order {{ ...G{n + 1} ... {{ ...G{n + 1} }} ... {{ ...G{n + 1} }} }}"
        for n in range(60)
    )
    assert refused_by(planner, flat + " fragment G60 on Order { id number }") == "fields"


def test_a_cycle_of_fragments_is_a_validation_error(planner: Planner) -> None:
    text = "{ orders { nodes { ...A } } } fragment A on Order { ...B } fragment B on Order { ...A }"
    with pytest.raises(RequestError, match="Cannot spread fragment"):
        planner.operation(text, None)


async def test_the_cost_counts_what_lists_may_hold(shop: Shop) -> None:
    async def cost(text: str, **variables: object) -> int:
        answer = await shop.executor.execute(text, None, variables, STAFF)
        return int(orjson.loads(answer.body)["extensions"]["cost"]["requested"])

    assert await cost("{ head }") == 0
    assert await cost('{ order(number: "A001", channel: "web") { id } }') == 1
    assert await cost("{ orders(first: 7) { nodes { id } } }") == 7
    assert await cost("query ($n: Int) { orders(first: $n) { nodes { id } } }", n=9) == 9
    assert await cost("{ orders(first: 7) { nodes { lines { id } } totalCount } }") == 7 + 7 * 10 + 10
    assert await cost("{ orders(first: 2) { edges { node { person { id } } } } }") == 2 + 2 + 2
    assert await cost("mutation { orderRefuse { order { lines { id } } } }") == 10 + 1 + 1 + 10


def test_the_caches_are_bounded() -> None:
    planner = Planner(
        toys.make_schema(), toys.predicate, toys.values, operations=5, plans=3, limits=Limits(cost=100)
    )
    caller = VisibilityClass.of(STAFF)
    for n in range(20):
        operation = planner.operation(f"{{ a{n}: head }}", None)
        planner.plan(operation, {}, caller)
    assert (planner.kept_operations, planner.kept_plans) == (5, 3)
    first = planner.operation("{ head }", None)
    assert planner.operation("{ head }", None) is first
    assert planner.plan(first, {}, caller).plan is planner.plan(first, {}, caller).plan


def test_a_table_without_a_rule_does_not_compile() -> None:
    def nobody(table: str, row: object, caller: object, *, through_parent: bool = False) -> object:
        raise LookupError(table)

    planner = Planner(toys.make_schema(), nobody, toys.values)  # type: ignore[arg-type] # answers nothing
    operation = planner.operation("{ orders { totalCount } }", None)
    with pytest.raises(LookupError, match="toy_order"):
        planner.plan(operation, {}, VisibilityClass.of(STAFF))


def test_introspection_can_be_switched_off() -> None:
    planner = Planner(toys.make_schema(), toys.predicate, toys.values, introspection=False)
    operation = planner.operation("{ __schema { queryType { name } } }", None)
    with pytest.raises(RequestError, match="switched off"):
        planner.plan(operation, {}, VisibilityClass.of(STAFF))


@pytest.mark.parametrize(
    ("document", "limit"),
    [
        ("{ head } #" + "x" * 65_536, "length"),
        ("{ orders(filter: {numbers: [" + '"a" ' * 1_501 + "]}) { totalCount } }", "values"),
        ("{ orders { nodes { " + ("... { id id } " * 26) + "} } }", "repetitions"),
        ("{ orders { nodes { " + ("lines { order { id id } } " * 26) + "} } }", "repetitions"),
        ("{ orders { nodes { ...a ...b } } } " + "fragment a on Order { " + "id " * 26 + "} "
         "fragment b on Order { " + "id " * 26 + "}", "repetitions"),
        ("{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
         + " fragment f40 on Query { ...f0 }", "steps"),
    ],
)  # fmt: skip
def test_what_validation_would_take_long_over_is_counted_first(
    planner: Planner, document: str, limit: str
) -> None:
    assert refused_by(planner, document) == limit


def test_a_mistake_is_answered_with_names_of_the_schema_only_where_it_may_be_read() -> None:
    said = []
    for introspection in (True, False):
        planner = Planner(toys.make_schema(), toys.predicate, toys.values, introspection=introspection)
        with pytest.raises(RequestError) as caught:
            planner.operation("{ order { nodes { id } } }", None)
        said.append(str(caught.value))
    assert "Did you mean" in said[0]
    assert "Did you mean" not in said[1]


def test_what_is_kept_of_plans_is_bounded_by_their_size_too() -> None:
    kept = _Recent[int, int](capacity=100, most=10)
    for number in range(20):
        kept.put(number, number, 3)
    assert (len(kept), kept.get(19), kept.get(16)) == (3, 19, None)
    kept.put(18, 18, 1)
    kept.put(20, 20, 3)
    assert (len(kept), kept.get(18)) == (4, 18)
    kept.put(21, 21, 50)
    assert (len(kept), kept.get(21)) == (1, 21)
    kept.put(22, 22, 1)
    assert (len(kept), kept.get(22)) == (1, 22)
