from __future__ import annotations

from uuid import UUID

import pytest

from domain.access import (
    ALL_SCOPES,
    PORTAL_SCOPES,
    SYSTEM,
    Principal,
    PrincipalKind,
    Scope,
    VisibilityClass,
)


@pytest.mark.parametrize("kind", [PrincipalKind.CUSTOMER, PrincipalKind.GUEST])
def test_a_portals_principal_says_whose_orders_it_may_see(kind: PrincipalKind) -> None:
    with pytest.raises(ValueError, match=f"a {kind} principal needs"):
        Principal(kind=kind, account="portal", scopes=PORTAL_SCOPES)


def test_a_principal_may_do_what_its_scopes_say() -> None:
    partner = Principal(kind=PrincipalKind.PARTNER, account="shop", scopes=frozenset({Scope.ORDERS_WRITE}))
    assert partner.may(Scope.ORDERS_WRITE)
    assert not partner.may(Scope.STOCK_WRITE)
    assert SYSTEM.scopes == ALL_SCOPES == frozenset(Scope)


def test_a_portal_may_neither_see_costs_nor_change_more_than_its_returns() -> None:
    writes = {scope for scope in PORTAL_SCOPES if not scope.endswith((":read", ":contact"))}
    assert writes == {Scope.RETURNS_REQUEST}
    assert not PORTAL_SCOPES & {Scope.COSTS_READ, Scope.METADATA_PRIVATE, Scope.STOCK_READ}


def test_which_bounds_there_are_and_not_their_values_make_the_class() -> None:
    def partner(*channels: int) -> Principal:
        bounds = tuple(UUID(int=number) for number in channels)
        return Principal(kind=PrincipalKind.PARTNER, account="p", scopes=ALL_SCOPES, channels=bounds)

    assert (
        VisibilityClass.of(partner(1)) == VisibilityClass.of(partner(2, 3)) == VisibilityClass.of(partner())
    )
    assert VisibilityClass.of(partner(1)) != VisibilityClass.of(SYSTEM)
