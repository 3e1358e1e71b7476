from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deliveries import STATUSES, CarrierReport, Delivery, fold, of_shipment, troubles
from domain.shipments import CarrierEventKind, DeliveryStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KIND = CarrierEventKind


def _report(name: str, kind: CarrierEventKind, hour: int) -> CarrierReport:
    return CarrierReport(name, kind, NOON + timedelta(hours=hour))


LIFE = (
    _report("a", KIND.LABEL_CREATED, 0),
    _report("b", KIND.PICKED_UP, 1),
    _report("c", KIND.IN_TRANSIT, 5),
    _report("d", KIND.OUT_FOR_DELIVERY, 20),
    _report("e", KIND.ATTEMPTED, 22),
    _report("f", KIND.DELIVERED, 30),
)


def test_every_order_of_arrival_gives_the_same_delivery() -> None:
    expected = Delivery(DeliveryStatus.DELIVERED, NOON + timedelta(hours=30))
    assert {fold(arrived) for arrived in permutations(LIFE)} == {expected}


def test_each_report_moves_the_parcel_on() -> None:
    statuses = [fold(LIFE[:known]).status for known in range(len(LIFE) + 1)]
    assert statuses == [
        None,
        None,
        DeliveryStatus.IN_TRANSIT,
        DeliveryStatus.IN_TRANSIT,
        DeliveryStatus.OUT_FOR_DELIVERY,
        DeliveryStatus.ATTEMPTED,
        DeliveryStatus.DELIVERED,
    ]


def test_a_scan_after_the_delivery_does_not_undo_it_but_is_told() -> None:
    late = _report("g", KIND.IN_TRANSIT, 31)
    delivery = fold([late, *LIFE])
    assert (delivery.status, delivery.after_end) == (DeliveryStatus.DELIVERED, ("g",))


def test_a_parcel_that_was_refused_after_the_delivery_is_on_its_way_home() -> None:
    home = _report("h", KIND.RETURNED_TO_SENDER, 40)
    assert fold([home, *LIFE]) == Delivery(DeliveryStatus.RETURNED_TO_SENDER)


def test_a_lost_parcel_may_turn_up() -> None:
    lost, found = _report("l", KIND.LOST, 50), _report("m", KIND.IN_TRANSIT, 60)
    assert fold([lost]).status is DeliveryStatus.LOST
    assert fold([found, lost]).status is DeliveryStatus.IN_TRANSIT


def test_of_reports_of_one_moment_the_furthest_counts() -> None:
    reports = [_report("z", KIND.OUT_FOR_DELIVERY, 3), _report("a", KIND.DELIVERED, 3)]
    assert (
        fold(reports)
        == fold(reversed(reports))
        == Delivery(DeliveryStatus.DELIVERED, NOON + timedelta(hours=3))
    )


def test_one_id_with_two_contents_is_told_and_the_later_counts() -> None:
    first, second = _report("a", KIND.DELIVERED, 9), _report("a", KIND.ATTEMPTED, 10)
    assert fold([first, second]) == fold([second, first])
    assert fold([first, second, first]) == Delivery(DeliveryStatus.ATTEMPTED, None, ("a",))


def test_labels_and_notes_say_nothing_of_where_a_parcel_is() -> None:
    assert {kind for kind in KIND if kind not in STATUSES} == {KIND.LABEL_CREATED, KIND.NOTE}
    assert set(STATUSES.values()) == set(DeliveryStatus)


REPORTS = st.lists(
    st.builds(_report, st.sampled_from("abcdefg"), st.sampled_from(CarrierEventKind), st.integers(0, 5)),
    max_size=9,
)


@given(REPORTS, st.data())
def test_the_same_set_gives_the_same_delivery(reports: list[CarrierReport], data: st.DataObject) -> None:
    repeated = reports + data.draw(st.lists(st.sampled_from(reports), max_size=5)) if reports else []
    arrived = data.draw(st.permutations(repeated))
    assert fold(arrived) == fold(reports)


@given(REPORTS, REPORTS)
def test_what_is_told_to_staff_only_grows(known: list[CarrierReport], more: list[CarrierReport]) -> None:
    """So what was told along the way is what the whole set tells, whatever the way was."""
    before, after = fold(known), fold([*known, *more])
    assert set(before.conflicting) <= set(after.conflicting)
    assert set(before.after_end) <= set(after.after_end)
    assert troubles(known) <= troubles([*known, *more])


def test_a_scan_between_two_ends_is_told_whichever_came_first() -> None:
    between = [_report("g", KIND.IN_TRANSIT, 31), _report("h", KIND.RETURNED_TO_SENDER, 40)]
    for arrived in permutations([LIFE[-1], *between]):
        delivery = fold(arrived)
        assert (delivery.status, delivery.after_end) == (DeliveryStatus.RETURNED_TO_SENDER, ("g",))


def test_a_parcel_that_was_found_again_was_in_trouble() -> None:
    assert troubles([_report("l", KIND.LOST, 50), _report("m", KIND.DELIVERED, 60)]) == {DeliveryStatus.LOST}
    assert troubles(LIFE) == frozenset()


@pytest.mark.parametrize(
    ("packages", "status"),
    [
        ([], None),
        ([None, None], None),
        ([DeliveryStatus.DELIVERED, DeliveryStatus.DELIVERED], DeliveryStatus.DELIVERED),
        ([DeliveryStatus.DELIVERED, None], DeliveryStatus.IN_TRANSIT),
        ([DeliveryStatus.DELIVERED, DeliveryStatus.OUT_FOR_DELIVERY], DeliveryStatus.OUT_FOR_DELIVERY),
        ([DeliveryStatus.LOST, DeliveryStatus.DELIVERED, None], DeliveryStatus.LOST),
    ],
)
def test_a_shipment_is_where_its_parcel_in_most_need_of_attention_is(
    packages: list[DeliveryStatus | None], status: DeliveryStatus | None
) -> None:
    assert of_shipment(packages) is status
