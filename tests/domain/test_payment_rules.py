from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.captures import LineUnits, due_for_shipped
from domain.errors import AmountExceeded, Refused
from domain.money import refund_of
from domain.orders import BalanceStatus, PaymentStatus, ReleaseGate
from domain.payment_sums import (
    OrderMoney,
    PaymentFacts,
    PaymentSums,
    Transaction,
    add_up,
    balance,
    balance_status,
    payment_state,
    payment_status,
    release_gate_met,
    require_within,
    to_capture,
    to_refund,
)
from domain.payments import PaymentState, TransactionKind, TransactionStatus

AUTHORIZATION, SALE, CAPTURE, VOID, REFUND, CHARGEBACK = TransactionKind
PENDING, SUCCEEDED, FAILED, UNKNOWN = TransactionStatus


def _authorized(amount: int, captured: int = 0, refunded: int = 0) -> PaymentFacts:
    sums = PaymentSums(authorized=amount, captured=captured, refunded=refunded)
    open_, some = sums.open_authorization, captured > 0
    state = PaymentState.AUTHORIZED if not some else PaymentState.PARTIALLY_CAPTURED
    return PaymentFacts(state if open_ else PaymentState.CAPTURED, sums)


def test_a_card_payment_is_captured_in_parts_and_its_rest_released() -> None:
    history = [Transaction(AUTHORIZATION, PENDING, 1000)]
    assert payment_state(history) is PaymentState.PENDING
    history = [Transaction(AUTHORIZATION, SUCCEEDED, 1000)]
    assert payment_state(history) is PaymentState.AUTHORIZED
    history.append(Transaction(CAPTURE, SUCCEEDED, 400))
    assert payment_state(history) is PaymentState.PARTIALLY_CAPTURED
    sums = add_up(history)
    assert (sums.open_authorization, sums.capturable, sums.refundable) == (600, 600, 400)
    history.append(Transaction(VOID, SUCCEEDED, 600))
    assert payment_state(history) is PaymentState.CAPTURED
    assert add_up(history).capturable == 0


def test_what_is_asked_for_counts_against_what_may_be_asked() -> None:
    sums = add_up(
        [
            Transaction(AUTHORIZATION, SUCCEEDED, 1000),
            Transaction(CAPTURE, SUCCEEDED, 500),
            Transaction(CAPTURE, UNKNOWN, 200),
            Transaction(CAPTURE, FAILED, 300),
            Transaction(REFUND, SUCCEEDED, 100),
            Transaction(REFUND, PENDING, 150),
            Transaction(CHARGEBACK, SUCCEEDED, 50),
        ]
    )
    assert (sums.capturable, sums.voidable, sums.received, sums.refundable) == (300, 300, 350, 200)


def test_nothing_is_captured_while_a_release_is_under_way() -> None:
    sums = add_up([Transaction(AUTHORIZATION, SUCCEEDED, 1000), Transaction(VOID, PENDING, 1000)])
    assert (sums.capturable, sums.voidable, sums.open_authorization) == (0, 0, 1000)


@pytest.mark.parametrize(
    ("history", "action_required", "expired", "state"),
    [
        ([], False, False, PaymentState.PENDING),
        ([], True, False, PaymentState.ACTION_REQUIRED),
        ([Transaction(AUTHORIZATION, UNKNOWN, 5)], False, False, PaymentState.PENDING),
        ([Transaction(SALE, PENDING, 5)], True, False, PaymentState.ACTION_REQUIRED),
        ([Transaction(SALE, SUCCEEDED, 5)], False, False, PaymentState.CAPTURED),
        ([Transaction(SALE, FAILED, 5)], False, False, PaymentState.FAILED),
        ([Transaction(SALE, FAILED, 5), Transaction(SALE, PENDING, 5)], False, False, PaymentState.PENDING),
        ([Transaction(SALE, PENDING, 5)], False, True, PaymentState.EXPIRED),
        ([Transaction(AUTHORIZATION, SUCCEEDED, 5)], False, True, PaymentState.EXPIRED),
        (
            [Transaction(AUTHORIZATION, SUCCEEDED, 5), Transaction(VOID, SUCCEEDED, 5)],
            False,
            False,
            PaymentState.VOIDED,
        ),
        (
            [Transaction(AUTHORIZATION, SUCCEEDED, 5), Transaction(CAPTURE, SUCCEEDED, 2)],
            False,
            True,
            PaymentState.CAPTURED,
        ),
        (
            [Transaction(AUTHORIZATION, SUCCEEDED, 5), Transaction(CAPTURE, FAILED, 5)],
            False,
            False,
            PaymentState.AUTHORIZED,
        ),
    ],
)
def test_a_payments_transactions_decide_its_state(
    history: list[Transaction], action_required: bool, expired: bool, state: PaymentState
) -> None:
    assert payment_state(history, action_required=action_required, expired=expired) is state
    for shuffled in permutations(history):
        assert payment_state(shuffled, action_required=action_required, expired=expired) is state


TRANSACTIONS = st.lists(
    st.builds(
        Transaction, st.sampled_from(TransactionKind), st.sampled_from(TransactionStatus), st.integers(0, 99)
    ),
    max_size=12,
)


@given(TRANSACTIONS)
def test_what_may_be_asked_for_is_never_more_than_there_is(history: list[Transaction]) -> None:
    sums = add_up(history)
    assert 0 <= sums.capturable <= sums.open_authorization <= sums.authorized
    assert 0 <= sums.voidable <= sums.open_authorization
    assert sums.refundable >= 0
    assert sums.refundable + sums.refund_pending <= max(sums.received, sums.refund_pending)


@pytest.mark.parametrize(
    ("due", "money", "status"),
    [
        (100, OrderMoney(), PaymentStatus.UNPAID),
        (0, OrderMoney(), PaymentStatus.PAID),
        (100, OrderMoney(states=(PaymentState.PENDING,)), PaymentStatus.PENDING),
        (100, OrderMoney(states=(PaymentState.ACTION_REQUIRED,)), PaymentStatus.PENDING),
        (100, OrderMoney(states=(PaymentState.FAILED,)), PaymentStatus.FAILED),
        (100, OrderMoney(states=(PaymentState.FAILED, PaymentState.PENDING)), PaymentStatus.PENDING),
        (100, OrderMoney(states=(PaymentState.EXPIRED,)), PaymentStatus.EXPIRED),
        (0, OrderMoney(states=(PaymentState.VOIDED,)), PaymentStatus.VOIDED),
        (100, OrderMoney(states=(PaymentState.AUTHORIZED,), authorized=100), PaymentStatus.AUTHORIZED),
        (100, OrderMoney(states=(PaymentState.AUTHORIZED,), authorized=99), PaymentStatus.PENDING),
        (100, OrderMoney(states=(PaymentState.CAPTURED,), captured=99), PaymentStatus.PARTIALLY_PAID),
        (100, OrderMoney(states=(PaymentState.CAPTURED,), captured=100), PaymentStatus.PAID),
        (60, OrderMoney(states=(PaymentState.CAPTURED,), captured=100), PaymentStatus.PAID),
        (
            100,
            OrderMoney(states=(PaymentState.CAPTURED,), captured=100, refunded=40),
            PaymentStatus.PARTIALLY_REFUNDED,
        ),
        (0, OrderMoney(states=(PaymentState.CAPTURED,), captured=100, refunded=100), PaymentStatus.REFUNDED),
        (
            100,
            OrderMoney(states=(PaymentState.CAPTURED,), captured=100, charged_back=100),
            PaymentStatus.REFUNDED,
        ),
    ],
)
def test_an_orders_payment_status_follows_from_its_money(
    due: int, money: OrderMoney, status: PaymentStatus
) -> None:
    assert payment_status(due, money) is status


def test_an_expired_authorisation_no_longer_counts() -> None:
    expired = PaymentFacts(PaymentState.EXPIRED, PaymentSums(authorized=100))
    assert OrderMoney.of([expired]).authorized == 0
    assert OrderMoney.of([expired, _authorized(70, captured=20, refunded=5)]) == OrderMoney(
        captured=20,
        refunded=5,
        authorized=50,
        covered=65,
        states=(PaymentState.EXPIRED, PaymentState.PARTIALLY_CAPTURED),
    )


def _paid(
    gate: ReleaseGate, state: PaymentState, *, amount: int = 100, authorized: int = 0, captured: int = 0
) -> PaymentFacts:
    return PaymentFacts(state, PaymentSums(authorized=authorized, captured=captured), gate, amount)


@pytest.mark.parametrize(
    ("payments", "met"),
    [
        ([_authorized(99)], False),
        ([_authorized(100)], True),
        ([_authorized(100, captured=40)], True),
        ([_authorized(100, captured=100, refunded=1)], False),
        ([_paid(ReleaseGate.CAPTURED, PaymentState.PENDING)], False),
        ([_paid(ReleaseGate.CAPTURED, PaymentState.CAPTURED, captured=100)], True),
        ([_paid(ReleaseGate.TERMS, PaymentState.PENDING)], True),
        ([_paid(ReleaseGate.ON_DELIVERY, PaymentState.PENDING)], True),
        ([_paid(ReleaseGate.MARKETPLACE, PaymentState.CAPTURED, captured=100)], True),
        ([_paid(ReleaseGate.TERMS, PaymentState.PENDING, amount=1)], False),
        ([_paid(ReleaseGate.TERMS, PaymentState.EXPIRED)], False),
        ([_authorized(80), _paid(ReleaseGate.CAPTURED, PaymentState.PENDING, amount=20)], False),
        ([_authorized(80), _paid(ReleaseGate.CAPTURED, PaymentState.CAPTURED, captured=20)], True),
    ],
)
def test_each_payment_covers_what_its_method_answers_for(payments: list[PaymentFacts], met: bool) -> None:
    assert release_gate_met(ReleaseGate.AUTHORIZED, 100, OrderMoney.of(payments)) is met


@pytest.mark.parametrize("gate", ReleaseGate)
def test_an_order_without_payments_waits_unless_somebody_answers_for_its_money(gate: ReleaseGate) -> None:
    trusted = gate in (ReleaseGate.TERMS, ReleaseGate.ON_DELIVERY, ReleaseGate.MARKETPLACE)
    assert release_gate_met(gate, 100, OrderMoney()) is trusted
    assert release_gate_met(gate, 0, OrderMoney())


def test_captures_ask_the_oldest_payment_first_and_never_for_more_than_is_due() -> None:
    payments = [_authorized(60), _authorized(60)]
    assert to_capture(100, payments) == (60, 40)
    assert to_capture(0, payments) == (0, 0)
    assert to_capture(-5, payments) == (0, 0)
    assert to_capture(500, payments) == (60, 60)
    voided = PaymentFacts(PaymentState.EXPIRED, PaymentSums(authorized=60))
    assert to_capture(100, [voided, payments[0]]) == (0, 60)


def test_a_capture_under_way_is_not_asked_for_again() -> None:
    asked = PaymentFacts(PaymentState.AUTHORIZED, PaymentSums(authorized=100, capture_pending=70))
    assert to_capture(70, [asked]) == (0,)
    assert to_capture(90, [asked]) == (20,)


def test_refunds_go_back_the_way_the_latest_money_came() -> None:
    payments = [_authorized(60, captured=60), _authorized(40, captured=40, refunded=10)]
    assert to_refund(50, payments) == (20, 30)
    assert to_refund(90, payments) == (60, 30)
    assert to_refund(91, payments) is None


def test_more_than_there_is_is_refused_with_both_amounts() -> None:
    assert require_within(5, 5, "EUR", "refunded") == 5
    with pytest.raises(Refused) as refused:
        require_within(1051, 1050, "EUR", "refunded")
    assert refused.value.errors == (
        AmountExceeded(
            message="At most 10.50 EUR can be refunded, not 10.51.",
            field=("amount",),
            requested="10.51",
            limit="10.50",
            currency="EUR",
        ),
    )


def test_the_balance_says_who_owes() -> None:
    assert balance(1000, 200, 1000, 0, 0) == -200
    assert balance_status(-200) is BalanceStatus.OVERPAID
    assert balance(1000, 200, 1000, 200, 0) == 0
    assert balance_status(0) is BalanceStatus.SETTLED
    assert balance_status(balance(1000, 0, 1000, 0, 1000)) is BalanceStatus.DUE


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=5),
    st.integers(0, 10**4),
    st.data(),
)
def test_what_is_due_as_goods_leave_grows_to_exactly_the_total(
    rows: list[tuple[int, int, int]], charges: int, data: st.DataObject
) -> None:
    ordered = [(gross, units, min(cancelled, units)) for gross, units, cancelled in rows]
    total = charges + sum(gross - refund_of(gross, cut, units, 0) for gross, units, cut in ordered)
    left = [0] * len(ordered)
    due = 0
    open_lines = [index for index, (_, units, cut) in enumerate(ordered) if units > cut]
    while open_lines:
        index = data.draw(st.sampled_from(open_lines))
        left[index] += 1
        lines = [
            LineUnits(gross=gross, ordered=units, cancelled=cut, fulfilled=fulfilled)
            for (gross, units, cut), fulfilled in zip(ordered, left, strict=True)
        ]
        following = due_for_shipped(lines, total)
        assert due <= following <= total
        due = following
        open_lines = [line for line in open_lines if left[line] < ordered[line][1] - ordered[line][2]]
    assert due == (total if any(left) else 0)
