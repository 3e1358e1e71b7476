"""Keyset pages: every row once, in order, forwards and backwards, filtered and sorted."""

from __future__ import annotations

from typing import Any

import pytest

from domain.access import Principal
from tests.plan.conftest import ORDERS, PARTNER, STAFF, Shop, key, order_id

PAGE = """query ($first: Int, $after: String, $last: Int, $before: String, $filter: OrderFilter,
                 $sort: OrderSort, $direction: SortDirection) {
  orders(first: $first, after: $after, last: $last, before: $before, filter: $filter, sort: $sort,
         direction: $direction) {
    edges { cursor node { number } } nodes { number }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }"""


def sorted_numbers(sort: str, direction: str) -> list[str]:
    keys: dict[str, Any] = {
        "PLACED_AT": lambda n: (n // 2, n),
        "NUMBER": lambda n: n,
        "TOTAL": lambda n: n,
    }
    return [f"A{n:03d}" for n in sorted(range(ORDERS), key=keys[sort], reverse=direction == "DESC")]


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("sort", ["PLACED_AT", "NUMBER", "TOTAL"])
async def test_paging_shows_every_row_once_in_order_both_ways(shop: Shop, sort: str, direction: str) -> None:
    expected = sorted_numbers(sort, direction)
    seen: list[str] = []
    cursor = None
    while True:
        page = (await shop.data(PAGE, first=7, after=cursor, sort=sort, direction=direction))["orders"]
        numbers = [edge["node"]["number"] for edge in page["edges"]]
        assert [node["number"] for node in page["nodes"]] == numbers
        assert page["pageInfo"]["hasPreviousPage"] is (cursor is not None)
        assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
        assert page["totalCount"] == ORDERS
        seen += numbers
        cursor = page["pageInfo"]["endCursor"]
        assert cursor == page["edges"][-1]["cursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == expected

    seen, cursor = [], None
    while True:
        page = (await shop.data(PAGE, last=7, before=cursor, sort=sort, direction=direction))["orders"]
        seen = [edge["node"]["number"] for edge in page["edges"]] + seen
        assert page["pageInfo"]["endCursor"] == page["edges"][-1]["cursor"]
        assert page["pageInfo"]["hasNextPage"] is (cursor is not None)
        cursor = page["pageInfo"]["startCursor"]
        assert cursor == page["edges"][0]["cursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert seen == expected


async def test_a_page_lies_between_two_cursors(shop: Shop) -> None:
    everything = (await shop.data(PAGE, first=30, sort="NUMBER", direction="ASC"))["orders"]["edges"]
    page = await shop.data(
        PAGE,
        first=100,
        after=everything[3]["cursor"],
        before=everything[8]["cursor"],
        sort="NUMBER",
        direction="ASC",
    )
    assert [edge["node"]["number"] for edge in page["orders"]["edges"]] == ["A004", "A005", "A006", "A007"]


async def test_an_empty_page_has_no_cursors(shop: Shop) -> None:
    for arguments in ({"filter": {"channel": "none"}}, {"first": 0, "filter": {"channel": "none"}}):
        page = (await shop.data(PAGE, **arguments))["orders"]
        assert page == {
            "edges": [],
            "nodes": [],
            "pageInfo": {
                "hasNextPage": False,
                "hasPreviousPage": False,
                "startCursor": None,
                "endCursor": None,
            },
            "totalCount": 0,
        }
    page = (await shop.data(PAGE, first=0))["orders"]
    assert page["edges"] == []
    assert page["pageInfo"]["hasNextPage"] is True
    assert page["pageInfo"]["endCursor"] is None


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"status": ["OPEN"]}, 10),
        ({"status": ["OPEN", "SHIPPED"]}, 20),
        ({"status": []}, 0),
        ({"status": None, "channel": None}, 30),
        ({"channel": "web"}, 20),
        ({"channel": "web", "status": ["OPEN"]}, 0),
        ({"personId": f"per_{key(0, 1)}"}, 8),
        ({"ids": [order_id(1), order_id(2), order_id(999)]}, 2),
        ({"placed": {"since": "2025-01-01T10:00:00Z"}}, 10),
        ({"placed": {"since": "2025-01-01T10:00:00+01:00", "until": "2025-01-01T10:00:00Z"}}, 2),
        ({"placed": {}}, 30),
        ({"search": "a00"}, 10),
        ({"search": "%'; drop table toy_order; --"}, 0),
    ],
)
async def test_each_filter_keeps_what_it_says(shop: Shop, filters: dict[str, Any], count: int) -> None:
    text = (
        "query ($filter: OrderFilter) { orders(filter: $filter, first: 100) { nodes { number } totalCount } }"
    )
    answer = (await shop.data(text, filter=filters))["orders"]
    assert (len(answer["nodes"]), answer["totalCount"]) == (count, count)


async def paged(shop: Shop, caller: Principal, **arguments: Any) -> list[str]:
    """The numbers of every page, in their order."""
    seen: list[str] = []
    cursor = None
    while True:
        page = (await shop.data(PAGE, caller, first=5, after=cursor, **arguments))["orders"]
        seen += [node["number"] for node in page["nodes"]]
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            assert page["totalCount"] == len(seen)
            return seen


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_of_what_a_search_finds_so_many_are_paged_through_and_counted(
    shop: Shop, direction: str
) -> None:
    seen = await paged(shop, STAFF, filter={"search": "a"}, sort="NUMBER", direction=direction)
    assert len(set(seen)) == 12
    assert seen == sorted(seen, reverse=direction == "DESC")
    by_total = await paged(shop, STAFF, filter={"search": "A"}, sort="TOTAL", direction=direction)
    assert sorted(by_total) == sorted(seen)
    page = (await shop.data(PAGE, last=12, filter={"search": "a"}, sort="NUMBER", direction=direction))[
        "orders"
    ]
    assert [node["number"] for node in page["nodes"]] == seen


async def test_a_search_takes_its_candidates_from_what_the_filter_leaves_and_the_caller_sees(
    shop: Shop,
) -> None:
    in_store = {f"A{n:03d}" for n in range(ORDERS) if n % 3 == 0}
    assert set(await paged(shop, STAFF, filter={"search": "a", "channel": "store"})) == in_store
    of_partner = await paged(shop, PARTNER, filter={"search": "a"})
    assert len(of_partner) == 12
    assert in_store.isdisjoint(of_partner)
    shipped = {f"A{n:03d}" for n in range(ORDERS) if n % 3 == 1}
    assert set(await paged(shop, PARTNER, filter={"search": "a", "status": ["SHIPPED"]})) == shipped


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("sort", ["PLACED_AT", "NUMBER"])
async def test_a_list_is_merged_from_a_page_for_each_value_where_an_index_serves_the_sort(
    shop: Shop, sort: str, direction: str
) -> None:
    wanted = {"filter": {"status": ["OPEN", "CANCELLED", "OPEN"]}, "sort": sort, "direction": direction}
    open_or_cancelled = [
        number for number in sorted_numbers(sort, direction) if int(number[1:]) % 3 in (0, 2)
    ]
    assert await paged(shop, STAFF, **wanted) == open_or_cancelled
    assert ("LATERAL" in shop.reads.statements[0]) is (sort == "PLACED_AT")
    page = (await shop.data(PAGE, last=7, **wanted))["orders"]
    assert [node["number"] for node in page["nodes"]] == open_or_cancelled[-7:]


@pytest.mark.parametrize(
    ("filters", "count", "merged"),
    [
        ({"status": ["SHIPPED"], "people": [f"per_{key(0, 1)}", f"per_{key(0, 2)}"]}, 8, True),
        ({"status": ["SHIPPED", "OPEN"], "people": [f"per_{key(0, 1)}"]}, 8, False),
        ({"people": [f"per_{key(0, 1)}"]}, 8, False),
        ({"people": [], "status": ["SHIPPED"]}, 0, True),
    ],
)
async def test_an_index_serves_a_list_when_what_else_it_begins_with_is_fixed(
    shop: Shop, filters: dict[str, Any], count: int, merged: bool
) -> None:
    text = PAGE.replace("query (", "query Fixed(")  # of its own: soon, values are parameters and fix nothing
    page = (await shop.data(text, first=100, sort="TOTAL", direction="ASC", filter=filters))["orders"]
    numbers = [node["number"] for node in page["nodes"]]
    assert (len(numbers), numbers) == (count, sorted(numbers))
    assert page["totalCount"] == count
    assert ("LATERAL" in shop.reads.statements[0]) is merged


async def test_filters_can_be_written_in_the_document_around_a_variable(shop: Shop) -> None:
    text = """query ($status: [Status!], $since: DateTime, $one: Status = SHIPPED) {
        a: orders(filter: {status: $status, placed: {since: $since}}, first: 3) { totalCount }
        b: orders(filter: {status: [OPEN, $one]}) { totalCount }
        c: orders(filter: {status: CANCELLED}, sort: NUMBER, direction: ASC, first: 1) {
            nodes { number } } }"""
    answer = await shop.data(text)
    assert answer == {
        "a": {"totalCount": 30},
        "b": {"totalCount": 20},
        "c": {"nodes": [{"number": "A002"}]},
    }
    answer = await shop.data(text, status=["OPEN"], since="2025-01-01T12:00:00Z", one="OPEN")
    assert answer == {"a": {"totalCount": 2}, "b": {"totalCount": 10}, "c": {"nodes": [{"number": "A002"}]}}
    assert len(shop.reads.statements) == 2


async def test_connections_nest_with_their_own_arguments(shop: Shop) -> None:
    text = """query ($n: Int!, $type: [String!]) { orders(first: 2, sort: NUMBER, direction: ASC) { nodes {
        number person { orders(first: $n) { nodes { number events(filter: {type: $type}, last: 1) {
        edges { cursor node { type position } } pageInfo { hasPreviousPage } totalCount } }
        pageInfo { hasNextPage endCursor } } } } } }"""
    answer = await shop.data(text, n=2, type=["PICKED"])
    first, second = answer["orders"]["nodes"]
    assert first == {"number": "A000", "person": None}
    assert second["person"]["orders"]["pageInfo"]["hasNextPage"] is True
    orders = second["person"]["orders"]["nodes"]
    assert [order["number"] for order in orders] == ["A001", "A004"]
    assert [order["events"]["edges"][0]["node"] for order in orders] == [
        {"type": "PICKED", "position": 4},
        {"type": "PICKED", "position": 10},
    ]
    assert orders[0]["events"]["totalCount"] == 1
    assert orders[0]["events"]["pageInfo"] == {"hasPreviousPage": False}
    both = await shop.data(text, n=1)
    events = both["orders"]["nodes"][1]["person"]["orders"]["nodes"][0]["events"]
    assert events["totalCount"] == 2
    assert events["pageInfo"] == {"hasPreviousPage": True}


async def test_rows_that_are_not_visible_are_on_no_page(shop: Shop) -> None:
    page = (await shop.data(PAGE, PARTNER, first=100, sort="NUMBER", direction="ASC"))["orders"]
    assert page["totalCount"] == 20
    assert all(int(edge["node"]["number"][1:]) % 3 for edge in page["edges"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"first": 101},
        {"first": -1},
        {"last": 101},
        {"first": 1, "last": 1},
        {"after": "x"},
        {"after": ""},
        {"after": "é"},
        {"before": "W10="},
        {"after": "WyJOVU1CRVIiLCJBIl0="},
        {"after": "A" * 10_000},
        {"filter": {"ids": ["nothing"]}},
        {"filter": {"search": "a\0"}},
    ],
)
async def test_a_value_that_cannot_be_used_is_an_error_of_its_field(
    shop: Shop, arguments: dict[str, Any]
) -> None:
    for _ in range(2):
        answer = await shop.ask(PAGE, **arguments)
        assert answer["data"] is None
        assert [error["path"] for error in answer["errors"]] == [["orders"]]
        assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_cursor_of_another_sort_is_refused(shop: Shop) -> None:
    page = (await shop.data(PAGE, first=1, sort="NUMBER"))["orders"]
    answer = await shop.ask(PAGE, first=1, sort="TOTAL", after=page["pageInfo"]["endCursor"])
    assert "same sort" in answer["errors"][0]["message"]


async def test_page_sizes_are_constants_until_there_are_too_many_of_them(shop: Shop) -> None:
    text = "query Sizes($n: Int!, $s: [Status!]) { orders(first: $n, filter: {status: $s}) { nodes { id } } }"
    for size in range(1, 13):
        answer = await shop.data(text, n=size, s=["OPEN", "SHIPPED"])
        assert len(answer["orders"]["nodes"]) == size
    statements = set(shop.reads.statements)
    assert len(statements) == 9
    assert sum("$1" in sql for sql in statements) == 1
    answer = await shop.ask(text, n=101, s=["OPEN"])
    assert answer["errors"][0]["message"] == "A page holds 0 to 100; 101 were asked for."


async def test_everything_the_toy_offers_is_in_one_statement_a_request(shop: Shop) -> None:
    text = """{ orders(first: 5) { totalCount nodes { id lines { sku order { person {
                    orders(first: 3) { nodes { lines { id } } } } } } } }
                head sold(skus: ["SKU0"], orderId: "%s") { sold } node(id: "%s") { id } }"""
    await shop.data(text % (order_id(1), order_id(2)), STAFF)
    assert len(shop.reads.statements) == 1
