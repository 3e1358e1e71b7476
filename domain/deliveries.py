"""Folding a carrier's reports of a parcel into one status.

Reports come late, twice and out of order. The fold looks at the set of them, so
the same set gives the same status whatever the order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from domain.shipments import CarrierEventKind, DeliveryStatus

STATUSES: dict[CarrierEventKind, DeliveryStatus] = {
    CarrierEventKind.PICKED_UP: DeliveryStatus.IN_TRANSIT,
    CarrierEventKind.IN_TRANSIT: DeliveryStatus.IN_TRANSIT,
    CarrierEventKind.DELAYED: DeliveryStatus.DELAYED,
    CarrierEventKind.OUT_FOR_DELIVERY: DeliveryStatus.OUT_FOR_DELIVERY,
    CarrierEventKind.ATTEMPTED: DeliveryStatus.ATTEMPTED,
    CarrierEventKind.AVAILABLE_FOR_PICKUP: DeliveryStatus.AVAILABLE_FOR_PICKUP,
    CarrierEventKind.DAMAGED: DeliveryStatus.DAMAGED,
    CarrierEventKind.LOST: DeliveryStatus.LOST,
    CarrierEventKind.RETURNED_TO_SENDER: DeliveryStatus.RETURNED_TO_SENDER,
    CarrierEventKind.DELIVERED: DeliveryStatus.DELIVERED,
}
"""What each report says; LABEL_CREATED and NOTE say nothing of where the parcel is."""

_RANKS = {kind: rank for rank, kind in enumerate(CarrierEventKind)}
"""Which of two reports of the same moment is the later one: the enumeration's order."""

FINAL = frozenset({DeliveryStatus.DELIVERED, DeliveryStatus.RETURNED_TO_SENDER})
"""Only another final report supersedes these: a depot scan after the delivery is a clock gone wrong."""

IN_TROUBLE = frozenset({DeliveryStatus.LOST, DeliveryStatus.DAMAGED, DeliveryStatus.RETURNED_TO_SENDER})
"""Staff decide what becomes of such a shipment; until then it keeps its order open."""

_ATTENTION = (
    DeliveryStatus.LOST,
    DeliveryStatus.DAMAGED,
    DeliveryStatus.RETURNED_TO_SENDER,
    DeliveryStatus.ATTEMPTED,
    DeliveryStatus.DELAYED,
    DeliveryStatus.AVAILABLE_FOR_PICKUP,
    DeliveryStatus.OUT_FOR_DELIVERY,
    DeliveryStatus.IN_TRANSIT,
    DeliveryStatus.DELIVERED,
)
"""Which parcel speaks for a shipment of several: the one that needs attention most."""


@dataclass(frozen=True, slots=True)
class CarrierReport:
    """One report; `id` is the carrier's own and names it however often it is sent."""

    id: str
    kind: CarrierEventKind
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where a parcel is; `delivered_at` is the carrier's own time of a delivery that stands.

    `conflicting` are the ids that came with two contents, `after_end` those of
    reports of movement later than a final one. Both are discrepancies: of a set of
    reports they are the same in every order of arrival, and a larger set only adds to them.
    """

    status: DeliveryStatus | None = None
    delivered_at: datetime | None = None
    conflicting: tuple[str, ...] = ()
    after_end: tuple[str, ...] = ()


def prevailing(one: CarrierReport, other: CarrierReport) -> CarrierReport:
    """Which of two reports with the same id counts: the later, whichever came first."""
    return max(one, other, key=_order)


def fold(reports: Iterable[CarrierReport]) -> Delivery:
    """The state of one parcel by the set of its carrier's reports."""
    contents = set(reports)
    by_id: dict[str, CarrierReport] = {}
    conflicting: set[str] = set()
    for report in contents:
        known = by_id.setdefault(report.id, report)
        if known != report:
            conflicting.add(report.id)
            by_id[report.id] = prevailing(known, report)
    told = Delivery(conflicting=tuple(sorted(conflicting)), after_end=_after_end(contents))
    telling = sorted((report for report in by_id.values() if report.kind in STATUSES), key=_order)
    if not telling:
        return told
    final = [report for report in telling if _is_final(report)]
    last = final[-1] if final else telling[-1]
    status = STATUSES[last.kind]
    delivered_at = last.occurred_at if status is DeliveryStatus.DELIVERED else None
    return replace(told, status=status, delivered_at=delivered_at)


def _is_final(report: CarrierReport) -> bool:
    return STATUSES.get(report.kind) in FINAL


def _after_end(contents: Iterable[CarrierReport]) -> tuple[str, ...]:
    """Reports of movement later than another report that was final.

    Every content that an id came with counts, and so does the first final report, not
    the last: else what was told of half the reports would not be what is told of all.
    """
    telling = sorted((report for report in contents if report.kind in STATUSES), key=_order)
    ended: set[str] = set()
    later: set[str] = set()
    for report in telling:
        if _is_final(report):
            ended.add(report.id)
        elif ended - {report.id}:
            later.add(report.id)
    return tuple(sorted(later))


def troubles(contents: Iterable[CarrierReport]) -> frozenset[DeliveryStatus]:
    """What went wrong with a parcel at any time by these reports, also where it was found again."""
    return frozenset(STATUSES[report.kind] for report in contents if report.kind in STATUSES) & IN_TROUBLE


def of_shipment(packages: Iterable[DeliveryStatus | None]) -> DeliveryStatus | None:
    """The status of a shipment by its parcels'; DELIVERED only when every one is."""
    statuses = list(packages)
    told = [status for status in statuses if status is not None]
    if not told:
        return None
    if None in statuses:  # a parcel nobody has scanned has not arrived
        told.append(DeliveryStatus.IN_TRANSIT)
    return min(told, key=_ATTENTION.index)


def _order(report: CarrierReport) -> tuple[datetime, int, str]:
    return (report.occurred_at, _RANKS[report.kind], report.id)
