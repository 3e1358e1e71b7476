"""Objects, relations and leaves, read in one statement."""

from __future__ import annotations

from tests.plan.conftest import PARTNER, STAFF, Shop, guest, key, order_id


async def test_an_order_with_everything_in_it_is_one_statement(shop: Shop) -> None:
    answer = await shop.data(
        """query ($id: ID!) { order(id: $id) { __typename id number status placedAt shippedAt note tags
             metadata
             total { amount currencyCode __typename } address { line1 city floor } statuses
             person { id name email } lines { lineNumber sku quantity left order { number } } } }""",
        id=order_id(7),
    )
    assert answer == {
        "order": {
            "__typename": "Order",
            "id": order_id(7),
            "number": "A007",
            "status": "SHIPPED",
            "placedAt": "2025-01-01T03:00:00.000003Z",
            "shippedAt": "2025-01-08T00:00:00.000000Z",
            "note": None,
            "tags": ["a", 'b"c'],
            "metadata": {"n": 7, "s": "ü"},
            "total": {"amount": "4936", "currencyCode": "JPY", "__typename": "Money"},
            "address": {"line1": "Street 7", "city": None, "floor": 7},
            "statuses": ["OPEN", "SHIPPED"],
            "person": {"id": f"per_{key(0, 1)}", "name": 'Person "1" ü\u2028', "email": None},
            "lines": [
                {"lineNumber": 1, "sku": "SKU0", "quantity": 2, "left": 1, "order": {"number": "A007"}},
                {"lineNumber": 2, "sku": "SKU1", "quantity": 3, "left": 2, "order": {"number": "A007"}},
                {"lineNumber": 3, "sku": "SKU2", "quantity": 4, "left": 3, "order": {"number": "A007"}},
            ],
        }
    }
    assert len(shop.reads.statements) == 1


async def test_money_has_the_decimals_of_its_currency(shop: Shop) -> None:
    answer = await shop.data(
        """{ a: order(number: "A000", channel: "store") { total { amount currencyCode } }
             b: order(number: "A001", channel: "web") { total { amount currencyCode } }
             c: order(number: "A002", channel: "web") { total { currencyCode amount } } }"""
    )
    assert [answer[name]["total"] for name in "abc"] == [
        {"amount": "-37.02", "currencyCode": "EUR"},
        {"amount": "-2468", "currencyCode": "JPY"},
        {"currencyCode": "KWD", "amount": "-1.234"},
    ]


async def test_fields_merge_under_one_name_and_aliases_stand_beside_each_other(shop: Shop) -> None:
    answer = await shop.data(
        """query ($id: ID!) { order(id: $id) { ...A person { name } me: person { email } } }
           fragment A on Order { x: number number person { id ...B } ... { status } ... on Node { id } }
           fragment B on Person { __typename }""",
        id=order_id(4),
    )
    person = {"id": f"per_{key(0, 1)}", "__typename": "Person", "name": 'Person "1" ü\u2028'}
    assert answer["order"] == {
        "x": "A004",
        "number": "A004",
        "person": person,
        "status": "SHIPPED",
        "id": order_id(4),
        "me": {"email": None},
    }
    assert list(answer["order"]) == ["x", "number", "person", "status", "id", "me"]


async def test_directives_decide_by_the_values_of_their_variables(shop: Shop) -> None:
    text = """query ($id: ID!, $yes: Boolean!, $no: Boolean = false) {
        order(id: $id) { number @include(if: $yes) note @skip(if: $yes) id @include(if: $no)
                         ... @include(if: $no) { status } } }"""
    assert (await shop.data(text, id=order_id(4), yes=True))["order"] == {"number": "A004"}
    assert (await shop.data(text, id=order_id(4), yes=False, no=True))["order"] == {
        "note": "note\n4\t\u0001é",
        "id": order_id(4),
        "status": "SHIPPED",
    }
    assert (
        await shop.data("{ order(id: $id) @skip(if: true) { id } __typename }".replace("(id: $id)", ""))
    ) == {"__typename": "Query"}


async def test_what_is_not_visible_is_not_there(shop: Shop) -> None:
    text = "query ($id: ID!) { order(id: $id) { number } }"
    assert await shop.data(text, PARTNER, id=order_id(0)) == {"order": None}
    assert await shop.data(text, PARTNER, id=order_id(1)) == {"order": {"number": "A001"}}
    assert await shop.data(text, guest(0), id=order_id(0)) == {"order": {"number": "A000"}}
    assert await shop.data(text, guest(0), id=order_id(1)) == {"order": None}
    assert await shop.data(text, guest(0), id=order_id(29)) == {"order": None}
    answer = await shop.data("{ orders { nodes { number } totalCount } }", guest(3))
    assert answer == {"orders": {"nodes": [{"number": "A003"}], "totalCount": 1}}


async def test_exactly_one_way_to_find_a_row_is_taken(shop: Shop) -> None:
    for arguments in ('number: "A001"', f'id: "{order_id(1)}", number: "A001", channel: "web"'):
        answer = await shop.ask(f"{{ order({arguments}) {{ id }} head }}")
        assert answer["data"] == {"order": None, "head": "60"}
        assert answer["errors"][0]["path"] == ["order"]
        assert answer["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT"}


async def test_a_bad_id_fails_its_own_root_field_only(shop: Shop) -> None:
    text = "query ($id: ID!) { order(id: $id) { id } head }"
    good = await shop.ask(text, id=order_id(1))
    assert good["data"]["order"] == {"id": order_id(1)}
    for bad in ("ord_nothing", "per_00000000-0000-7000-8001-000000000001", "", "ord_" + "0" * 32):
        answer = await shop.ask(text, id=bad)
        assert answer["data"] == {"order": None, "head": "60"}
        assert [error["path"] for error in answer["errors"]] == [["order"]]


async def test_node_reads_any_type_by_its_id(shop: Shop) -> None:
    text = "query ($id: ID!) { node(id: $id) { __typename id ... on Order { number } ... on Line { sku } } }"
    assert (await shop.data(text, id=order_id(1)))["node"] == {
        "__typename": "Order",
        "id": order_id(1),
        "number": "A001",
    }
    line = f"lin_{key(2, 10)}"
    assert (await shop.data(text, id=line))["node"] == {"__typename": "Line", "id": line, "sku": "SKU0"}
    assert (await shop.data(text, id=f"lin_{key(2, 999)}"))["node"] is None
    answer = await shop.ask(text, id="xyz_1")
    assert answer["data"] == {"node": None}
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_nodes_come_in_the_order_of_their_ids_in_one_statement(shop: Shop) -> None:
    ids = [f"lin_{key(2, 10)}", order_id(2), f"per_{key(0, 2)}", order_id(0), order_id(2)]
    text = "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Person { name } } }"
    answer = await shop.data(text, PARTNER, ids=ids)
    assert answer["nodes"] == [
        {"id": ids[0]},
        {"id": ids[1]},
        {"id": ids[2], "name": 'Person "2" ü\u2028'},
        None,
        {"id": ids[1]},
    ]
    assert len(shop.reads.statements) == 1
    assert (await shop.data(text, ids=[]))["nodes"] == []
    answer = await shop.ask(text, ids=[order_id(1)] * 101)
    assert answer["errors"][0]["message"] == "At most 100 ids; 101 were given."


async def test_an_interface_field_reads_the_type_that_its_kind_names(shop: Shop) -> None:
    text = """query ($id: ID!) { order(id: $id) { events { nodes { position type order { number }
        subject { __typename id ... on Line { sku } ... on Order { number } } } } } }"""
    answer = await shop.data(text, STAFF, id=order_id(1))
    assert answer["order"]["events"]["nodes"] == [
        {
            "position": 3,
            "type": "PLACED",
            "order": {"number": "A001"},
            "subject": {"__typename": "Order", "id": order_id(1), "number": "A001"},
        },
        {
            "position": 4,
            "type": "PICKED",
            "order": {"number": "A001"},
            "subject": {"__typename": "Line", "id": f"lin_{key(2, 10)}", "sku": "SKU0"},
        },
    ]
    assert (await shop.data(text, id=order_id(0)))["order"]["events"]["nodes"][1]["subject"] is None


async def test_a_list_can_be_read_from_a_select_that_the_arguments_shape(shop: Shop) -> None:
    answer = await shop.data(
        """query ($skus: [String!]!, $id: ID!) { sold(skus: $skus, orderId: $id) { sku sold } }""",
        skus=["SKU2", "SKU0", "x"],
        id=order_id(7),
    )
    assert answer["sold"] == [{"sku": "SKU0", "sold": 2}, {"sku": "SKU2", "sold": 4}]


async def test_introspection_is_answered_beside_data(shop: Shop) -> None:
    answer = await shop.data(
        """query ($name: String!, $id: ID!) { head __type(name: $name) { name kind }
             order(id: $id) { number } s: __schema { queryType { name } } }""",
        name="Order",
        id=order_id(1),
    )
    assert answer == {
        "head": "60",
        "__type": {"name": "Order", "kind": "OBJECT"},
        "order": {"number": "A001"},
        "s": {"queryType": {"name": "Query"}},
    }
    assert list(answer) == ["head", "__type", "order", "s"]
    again = await shop.data(
        "query ($name: String!) { __type(name: $name) { name } __typename }", name="Nothing"
    )
    assert again == {"__type": None, "__typename": "Query"}
