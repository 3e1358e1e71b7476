from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from domain.errors import InvalidInput, Refused
from domain.ids import Prefix, format_id, parse_id, split_id

SOME = UUID("0198c0de-0000-7000-8000-000000000001")


def test_an_id_says_what_it_names() -> None:
    assert format_id(Prefix.ORDER, SOME) == "ord_0198c0de-0000-7000-8000-000000000001"
    assert parse_id("ord_0198c0de-0000-7000-8000-000000000001", Prefix.ORDER) == SOME
    assert parse_id("ord_0198c0de-0000-7000-8000-000000000001", "shp", "ord") == SOME


@pytest.mark.parametrize("prefix", list(Prefix))
def test_every_prefix_is_three_letters_and_comes_back(prefix: Prefix) -> None:
    uuid = uuid4()
    assert len(prefix) == 3
    assert split_id(format_id(prefix, uuid)) == (prefix, uuid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ord",
        "ord_",
        "ord_1",
        "0198c0de-0000-7000-8000-000000000001",
        "xyz_0198c0de-0000-7000-8000-000000000001",
        "ord_0198C0DE-0000-7000-8000-000000000001",
        "ord_0198c0de000070008000000000000001",
        "ord_{198c0de-0000-7000-8000-00000000000}",
        "shp_0198c0de-0000-7000-8000-000000000001",
        "ord_0198c0de-0000-7000-8000-000000000001\n",
        "ord_" + "\ud800" * 36,
        "o" * 100_000,
    ],
)
def test_what_is_not_an_orders_id_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_id(text, Prefix.ORDER, field=("id",))
    (error,) = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert error.field == ("id",)
    assert "ord_<uuid>" in error.message
    assert len(error.message) < 200
    error.message.encode()
