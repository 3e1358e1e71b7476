"""Values for what an API takes, from its types alone: right ones, and right ones with one thing wrong."""

from __future__ import annotations

import copy
import json
from typing import Any
from uuid import uuid4

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
)
from hypothesis import strategies as st

from domain.ids import Prefix
from tests.security.conftest import Shop
from tests.security.test_leaks import prefix_of

WORDS = {
    "currencyCode": ["EUR", "USD", "BRL"],
    "countryCode": ["DE", "BR"],
    "email": ["ada@example.com"],
    "scopes": ["orders:read", "stock:write"],
    "system": ["shop", "marketplace", "erp", "wms"],
    "account": ["partner:test"],
}
"""Texts that mean something, by the name of the field that takes them."""

NUMBERS = [
    0,
    -1,
    1,
    99,
    1_000_000,
    2**31 - 1,
    2**31,
    -(2**31),
    2**53 - 1,
    2**53,
    2**63 - 1,
    2**63,
    10**30,
    0.5,
    1e300,
]
TEXTS = [
    "", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "😀", "👩\u200d🚀" * 50, "\u202e", "\ufeff", "\x1b[31m", "\r\n",
    "\x7f\x85", "e\u0301" * 200, "a" * 10_000, "'; drop table orders; --", "%s %(a)s {0} $1 \\", "=cmd|' /C calc'!A0",
    "NaN", "Infinity", "-0", "1e40", "1e-40", "0." + "9" * 37, "9" * 40, "١٢", "1_000", "null", "2025-01-01",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "2025-02-30T00:00:00Z", "ord_00000000-0000-7000-8000-000000000001", "ord_", "_", "ÖRD",
]  # fmt: skip
WRONG = st.one_of(
    st.sampled_from([None, True, False, {}, [], {"a": 1}, [[]], [None]]),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.text(max_size=8),
    st.integers(),
    st.floats(allow_nan=False),
)


def _fresh() -> str:
    """A text that was never sent before, good for codes, keys and names alike."""
    return f"t-{uuid4().hex[:12]}"


def arguments(shop: Shop, name: str, field: GraphQLField) -> st.SearchStrategy[dict[str, Any]]:
    """What the root field `name` may be called with; every second time something in it is wrong."""
    members = {key: value(shop, argument.type, key, name) for key, argument in field.args.items()}
    needed = {key for key, argument in field.args.items() if isinstance(argument.type, GraphQLNonNull)}
    right = _object(members, needed)
    return st.one_of(right, spoilt(right))


def value(shop: Shop, type_: Any, name: str, root: str) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one a type
    """Values of an input type; `name` of the field that takes it and `root` tell which ids and words fit."""
    if isinstance(type_, GraphQLNonNull):
        return value(shop, type_.of_type, name, root)
    if isinstance(type_, GraphQLList):
        items = value(shop, type_.of_type, name, root)
        return st.one_of(*[st.lists(items, min_size=1, max_size=1)] * 3, st.lists(items, max_size=3))
    if isinstance(type_, GraphQLEnumType):
        return st.sampled_from(sorted(type_.values))
    if isinstance(type_, GraphQLInputObjectType):
        members = {key: value(shop, field.type, key, root) for key, field in type_.fields.items()}
        needed = {key for key, field in type_.fields.items() if isinstance(field.type, GraphQLNonNull)}
        return _object(members, needed)
    match type_.name:
        case "ID":
            everything = [id for ids in shop.ids.values() for id in ids]
            prefix = prefix_of(name, root) or (Prefix.ORDER if root.startswith("order") else "")
            return st.sampled_from(shop.ids.get(prefix) or everything)
        case "Int" | "BigInt":
            return st.integers(1, 3)
        case "Boolean":
            return st.booleans()
        case "Decimal":
            return st.sampled_from(["1", "10.00", "0.5"])
        case "DateTime":
            return st.sampled_from(["2025-01-01T00:00:00Z", "2031-01-01T12:30:00.5+02:00"])
        case "JSON":
            return st.sampled_from([{}, {"a": [1, 0.5, None, "b"]}])
    known = shop.words.get(name) or WORDS.get(name)
    return st.sampled_from(known) if known else st.builds(_fresh)


def _object(
    members: dict[str, st.SearchStrategy[Any]], needed: set[str]
) -> st.SearchStrategy[dict[str, Any]]:
    """What is needed and a little more: of two ways to say the same, most inputs take one."""
    optional = sorted(members.keys() - needed)
    chosen = st.lists(st.sampled_from(optional), max_size=4, unique=True) if optional else st.just([])
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries({name: members[name] for name in (*sorted(needed), *names)})
    )


@st.composite
def spoilt(draw: st.DrawFn, right: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """The same with one thing wrong: another value, too little, too much, or the same many times."""
    changed = copy.deepcopy(draw(right))
    places = list(_places(changed))
    if not places:
        return {"input": draw(WRONG)}
    container, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "repeat"])):
        case "remove" if isinstance(container, dict):
            del container[key]
        case "add" if isinstance(container, dict):
            container[draw(st.sampled_from(["", "\0", "__typename", "status", "id ", "😀"]))] = draw(WRONG)
        case "repeat":
            container[key] = [container[key]] * draw(st.sampled_from([2, 101, 1_001]))
        case _:
            container[key] = draw(WRONG)
    return changed


def _places(within: Any) -> Any:
    """Every place in it, as its container and key."""
    for key, inner in list(within.items() if isinstance(within, dict) else enumerate(within)):
        yield within, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@st.composite
def bodies(draw: st.DrawFn, query: str, variables: st.SearchStrategy[dict[str, Any]]) -> bytes:
    """A request in JSON: by escapes or as UTF-8, now and then with a key that comes twice."""
    escaped = draw(st.booleans())
    text = json.dumps({"query": query, "variables": draw(variables)}, ensure_ascii=escaped)
    if draw(st.integers(0, 19)) == 0:
        text = text.replace('"variables": {', '"variables": {"input": null, "id": 1, ', 1)
    return text.encode("utf-8", "surrogatepass")


def operation(kind: str, name: str, field: GraphQLField) -> str:
    """A call of one root field with every argument from a variable, which shows what can be shown of its answer."""
    declared = ", ".join(f"${key}: {argument.type}" for key, argument in field.args.items())
    given = ", ".join(f"{key}: ${key}" for key in field.args)
    shown = selection(get_named_type(field.type), 2)
    return f"{kind}{f' ({declared})' if declared else ''} {{ {name}{f'({given})' if given else ''} {shown} }}"


def selection(type_: Any, depth: int) -> str:
    """Fields without arguments, and what hangs on them; nothing for a leaf."""
    if is_leaf_type(type_):
        return ""
    if isinstance(type_, GraphQLUnionType):
        return "{ __typename }"
    assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
    shown = ["__typename"]
    for name, field in type_.fields.items():
        named = get_named_type(field.type)
        if name != "totalCount" and not field.args and (is_leaf_type(named) or depth > 0):
            shown.append(f"{name} {selection(named, depth - 1)}")
    return "{ " + " ".join(shown) + " }"
