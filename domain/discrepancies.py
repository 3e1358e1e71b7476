"""Discrepancies: facts that were reported and fit no transition, for staff to resolve."""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine


class DiscrepancyKind(StrEnum):
    SHORTAGE = "SHORTAGE"  # fewer units than were promised: allocations became backorders
    RECONCILED_DEPARTURE = "RECONCILED_DEPARTURE"  # more left than the books had
    UNEXPECTED_REPORT = "UNEXPECTED_REPORT"  # no transition fits what was reported
    CONFLICTING_REPORT = "CONFLICTING_REPORT"  # one report id, two contents
    DISPATCH_AFTER_CANCELLATION = "DISPATCH_AFTER_CANCELLATION"
    EXCESS_DISPATCH = "EXCESS_DISPATCH"  # more left than the location was asked to send
    EXCESS_RECEIPT = "EXCESS_RECEIPT"  # more came back than was expected
    UNEXPECTED_DELIVERY_SCAN = "UNEXPECTED_DELIVERY_SCAN"  # e.g. a scan of a parcel that has not left
    LATE_PAYMENT = "LATE_PAYMENT"  # money for an order or payment that had ended
    EXCESS_PAYMENT = "EXCESS_PAYMENT"  # more was captured than was authorised or due
    EXCESS_REFUND = "EXCESS_REFUND"  # more was given back than was received
    CHARGEBACK = "CHARGEBACK"


class DiscrepancyStatus(StrEnum):
    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


DISCREPANCY = Machine(
    "Discrepancy",
    DiscrepancyStatus,
    initial=(DiscrepancyStatus.OPEN,),
    rows=((DiscrepancyStatus.OPEN, DiscrepancyStatus.RESOLVED, "staff settled it"),),
)
