"""Shipments: what leaves a location, and the words carriers report about it.

How a carrier's reports fold into one status is a rule of `deliveries.py`.
"""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine


class ShipmentStatus(StrEnum):
    PENDING = "PENDING"
    PICKING = "PICKING"
    PACKED = "PACKED"
    READY_FOR_PICKUP = "READY_FOR_PICKUP"
    SHIPPED = "SHIPPED"
    COLLECTED = "COLLECTED"
    PICKUP_EXPIRED = "PICKUP_EXPIRED"
    CANCELLED = "CANCELLED"


SHIPMENT = Machine(
    "Shipment",
    ShipmentStatus,
    initial=(ShipmentStatus.PENDING, ShipmentStatus.PICKING, ShipmentStatus.PACKED),
    rows=(
        (ShipmentStatus.PENDING, ShipmentStatus.PICKING, "picking began"),
        (ShipmentStatus.PENDING, ShipmentStatus.PACKED, "packed; picking was not reported"),
        (ShipmentStatus.PENDING, ShipmentStatus.READY_FOR_PICKUP, "set out for the customer at once"),
        (ShipmentStatus.PENDING, ShipmentStatus.SHIPPED, "left; packing was not reported"),
        (ShipmentStatus.PENDING, ShipmentStatus.COLLECTED, "handed over at once"),
        (ShipmentStatus.PENDING, ShipmentStatus.CANCELLED, "cancelled before leaving"),
        (ShipmentStatus.PICKING, ShipmentStatus.PACKED, "packed"),
        (ShipmentStatus.PICKING, ShipmentStatus.READY_FOR_PICKUP, "set out; packing was not reported"),
        (ShipmentStatus.PICKING, ShipmentStatus.SHIPPED, "left; packing was not reported"),
        (ShipmentStatus.PICKING, ShipmentStatus.COLLECTED, "handed over at once"),
        (ShipmentStatus.PICKING, ShipmentStatus.CANCELLED, "cancelled before leaving"),
        (ShipmentStatus.PACKED, ShipmentStatus.SHIPPED, "the carrier took it"),
        (ShipmentStatus.PACKED, ShipmentStatus.READY_FOR_PICKUP, "waits for the customer"),
        (ShipmentStatus.PACKED, ShipmentStatus.COLLECTED, "handed over at once"),
        (ShipmentStatus.PACKED, ShipmentStatus.CANCELLED, "cancelled before leaving"),
        (ShipmentStatus.READY_FOR_PICKUP, ShipmentStatus.COLLECTED, "the customer took it"),
        (ShipmentStatus.READY_FOR_PICKUP, ShipmentStatus.PICKUP_EXPIRED, "not fetched: restocked, refunded"),
        (ShipmentStatus.READY_FOR_PICKUP, ShipmentStatus.CANCELLED, "cancelled before leaving"),
    ),
)

LEFT = frozenset({ShipmentStatus.SHIPPED, ShipmentStatus.COLLECTED})
"""Shipments whose units have left the location's stock."""


class DeliveryStatus(StrEnum):
    """Where a parcel is, as far as its carrier's reports tell."""

    IN_TRANSIT = "IN_TRANSIT"
    OUT_FOR_DELIVERY = "OUT_FOR_DELIVERY"
    DELAYED = "DELAYED"
    ATTEMPTED = "ATTEMPTED"
    AVAILABLE_FOR_PICKUP = "AVAILABLE_FOR_PICKUP"
    DELIVERED = "DELIVERED"
    RETURNED_TO_SENDER = "RETURNED_TO_SENDER"
    LOST = "LOST"
    DAMAGED = "DAMAGED"


class CarrierEventKind(StrEnum):
    """What a carrier reports of a parcel; LABEL_CREATED and NOTE say nothing of where it is."""

    LABEL_CREATED = "LABEL_CREATED"
    NOTE = "NOTE"
    PICKED_UP = "PICKED_UP"
    IN_TRANSIT = "IN_TRANSIT"
    DELAYED = "DELAYED"
    OUT_FOR_DELIVERY = "OUT_FOR_DELIVERY"
    ATTEMPTED = "ATTEMPTED"
    AVAILABLE_FOR_PICKUP = "AVAILABLE_FOR_PICKUP"
    DAMAGED = "DAMAGED"
    LOST = "LOST"
    RETURNED_TO_SENDER = "RETURNED_TO_SENDER"
    DELIVERED = "DELIVERED"
