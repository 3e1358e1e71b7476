from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import text
from domain.checks import Checks
from domain.errors import Refused
from domain.order_commands import (
    Address,
    ExternalId,
    PaymentIntent,
    PlaceLine,
    PlaceOrder,
    check_place_order,
)
from domain.payments import PaymentMethod
from domain.pricing import Charge, Discount, Tax
from domain.shipment_commands import (
    CarrierEventReport,
    DispatchShipment,
    Parcel,
    RecordCarrierEvents,
    carrier_event_errors,
    check_dispatch_shipment,
    check_record_carrier_events,
)
from domain.shipments import CarrierEventKind

CHANNEL = UUID(int=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _order(**parts: Any) -> PlaceOrder:
    return PlaceOrder(channel_id=CHANNEL, **{"lines": (PlaceLine(sku="A-1", quantity=1),), **parts})


def _fields(command: PlaceOrder) -> list[str]:
    with pytest.raises(Refused) as refused:
        check_place_order(command)
    return [".".join(error.field) for error in refused.value.errors]


def test_a_full_order_is_accepted() -> None:
    tax = Tax(kind="VAT", rate=Decimal("0.19"), amount=19)
    check_place_order(
        _order(
            lines=(
                PlaceLine(
                    sku="Größe 38/Blau",
                    quantity=1_000_000,
                    unit_price=10**15,
                    discounts=(Discount(fraction=Decimal("0.15")), Discount(amount=5, code="X")),
                    taxes=(tax,),
                    external_id="line 1",
                    name="Kleid",
                    metadata={"gift": True},
                ),
            ),
            currency="EUR",
            external_ids=(ExternalId(system="amazon", id="302-1"), ExternalId(system="erp", id="SO 1")),
            email="a@b.example",
            shipping_address=Address(name="Ana Trujillo", city="México D.F.", country_code="MX"),
            billing_address=Address(),
            note="Bitte\nklingeln",
            shipping=(Charge(amount=490, label="Parcel"),),
            taxes=(tax,),
            payment=PaymentIntent(method=PaymentMethod.CARD, token="tok_visa"),
            metadata={"utm": {"source": "mail"}},
        )
    )


def test_every_error_of_form_is_told_at_once_where_it_stands() -> None:
    command = _order(
        lines=(
            PlaceLine(sku=" A", quantity=0, unit_price=-1),
            PlaceLine(
                sku="B",
                quantity=1_000_001,
                discounts=(Discount(fraction=Decimal("1.1")), Discount(amount=-1)),
                taxes=(Tax(kind="VAT", rate=Decimal("NaN")),),
            ),
        ),
        currency="EURO",
        external_ids=(ExternalId(system="erp", id="1"), ExternalId(system="erp", id="2")),
        email="nobody",
        note="\x00",
        shipping_address=Address(postal_code="\ud800", country_code="de"),
        priority=101,
        fees=(Charge(amount=-1, label=""),),
        payment=PaymentIntent(method=PaymentMethod.CARD, amount=0),
        metadata={"a": float("nan")},
    )
    assert _fields(command) == [
        "lines.0.sku",
        "lines.0.quantity",
        "lines.0.unitPrice",
        "lines.1.quantity",
        "lines.1.discounts.0.fraction",
        "lines.1.discounts.1.amount",
        "lines.1.taxLines.0.rate",
        "externalIds",
        "currency",
        "email",
        "note",
        "shippingAddress.postalCode",
        "shippingAddress.countryCode",
        "priority",
        "fees.0.amount",
        "fees.0.label",
        "payment.amount",
        "metadata",
    ]


@pytest.mark.parametrize("count", [0, 501])
def test_an_order_has_at_least_one_line_and_at_most_500(count: int) -> None:
    assert _fields(_order(lines=(PlaceLine(sku="A", quantity=1),) * count)) == ["lines"]


def test_demand_is_summed_by_sku() -> None:
    lines = (PlaceLine(sku="A", quantity=2), PlaceLine(sku="B", quantity=1), PlaceLine(sku="A", quantity=3))
    assert _order(lines=lines).demand() == {"A": 5, "B": 1}


def test_an_address_keeps_only_what_was_given() -> None:
    assert Address(name="Ana", postal_code="05021").to_json() == {"name": "Ana", "postal_code": "05021"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a" * 11, "must have at most 10 characters, not 11."),
        (" \t", "must not be empty."),
        ("a\x00", "must not hold the control character U+0000."),
        ("a\nb", "must not hold the control character U+000A."),
        ("a\x85", "must not hold the control character U+0085."),
        ("a\udc80", "must not hold half of a surrogate pair."),
        ("שלום 👩‍🚀", None),
    ],
)
def test_text_is_bounded_and_can_be_stored(value: str, problem: str | None) -> None:
    assert text.problem_with(value, 10) == problem


@given(st.text(max_size=20))
def test_text_without_a_problem_survives_utf8(value: str) -> None:
    if text.problem_with(value, 20, multiline=True, empty=True) is None:
        assert value.encode().decode() == value
        assert "\x00" not in value


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": float("inf")},
        {"a": 2**53 + 1},
        {"a": "\x00"},
        {"": 1},
        {"a": {"b": {"c": {"d": {"e": {}}}}}},
        {f"key{number}": 1 for number in range(51)},
        {"a": list(range(51))},
        {"a": "x" * 2001},
    ],
)
def test_metadata_that_readers_disagree_on_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        text.require_metadata(metadata, field=("metadata",))


def test_deep_metadata_is_refused_without_recursion() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(Refused):
        text.require_metadata(deep, field=("metadata",))


@pytest.mark.parametrize("value", ["1E-30", "1E+999999", "-0.1", "Infinity", "sNaN", "1.0000000001"])
def test_a_fraction_is_finite_short_and_within_its_bound(value: str) -> None:
    checks = Checks()
    checks.fraction(Decimal(value), 1, "rate")
    assert len(checks.errors) == 1


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        ({"package_id": UUID(int=2)}, []),
        ({"carrier": "DHL", "tracking_number": "JD01"}, []),
        ({"tracking_number": "JD01"}, ["packageId"]),
        ({"package_id": UUID(int=2), "carrier": "DHL", "tracking_number": "JD01"}, ["packageId"]),
        ({"package_id": UUID(int=2), "occurred_at": NOON.replace(tzinfo=None)}, ["occurredAt"]),
    ],
)
def test_a_carrier_event_names_its_package_one_way_and_its_time_with_an_offset(
    parts: dict[str, Any], wrong: list[str]
) -> None:
    told = {"partner_event_id": "1", "kind": CarrierEventKind.DELIVERED, "occurred_at": NOON, **parts}
    event = CarrierEventReport(**told)
    assert [error.field[-1] for error in carrier_event_errors(event, "events", "0")] == wrong


@pytest.mark.parametrize("count", [0, 101])
def test_carrier_events_come_one_to_a_hundred_at_once(count: int) -> None:
    event = CarrierEventReport(partner_event_id="1", kind=CarrierEventKind.DELIVERED, occurred_at=NOON)
    with pytest.raises(Refused):
        check_record_carrier_events(RecordCarrierEvents(events=(event,) * count))


def test_a_tracking_url_is_a_web_address() -> None:
    parcel = Parcel(tracking_number="JD01", tracking_url="https://carrier.example/JD01", weight_grams=900)
    check_dispatch_shipment(DispatchShipment(shipment_id=UUID(int=3), packages=(parcel,)))
    bad = Parcel(tracking_url="javascript:alert(1)", weight_grams=0)
    with pytest.raises(Refused) as refused:
        check_dispatch_shipment(DispatchShipment(shipment_id=UUID(int=3), packages=(bad,)))
    assert [error.field[-1] for error in refused.value.errors] == ["trackingUrl", "weightGrams"]
