"""Reservations: expiring claims of a checkout or a quote."""

from __future__ import annotations

from enum import StrEnum

from domain.states import Machine


class ReservationStatus(StrEnum):
    ACTIVE = "ACTIVE"
    CONSUMED = "CONSUMED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


RESERVATION = Machine(
    "Reservation",
    ReservationStatus,
    initial=(ReservationStatus.ACTIVE,),
    rows=(
        (ReservationStatus.ACTIVE, ReservationStatus.CONSUMED, "an order was placed with it"),
        (ReservationStatus.ACTIVE, ReservationStatus.RELEASED, "given back by its owner"),
        (ReservationStatus.ACTIVE, ReservationStatus.EXPIRED, "its time ran out"),
    ),
)


class ReservationOwner(StrEnum):
    """What a reservation claims stock for."""

    CHECKOUT = "CHECKOUT"
    QUOTE = "QUOTE"
