"""Root fields of payments and refunds."""

from __future__ import annotations

from domain.access import Scope
from resolvers.context import write
from schema.payment_inputs import (
    PaymentCaptureInput,
    PaymentRecordInput,
    PaymentReportInput,
    PaymentRequestInput,
    PaymentResumeInput,
    PaymentVoidInput,
    RefundCreateInput,
)
from schema.payments import Payment, Refund
from schema.plan import Info, UserError, by_id, mutation, no_errors, query_one, ref, refs, value_type
from services.payment_reports import record_payment, report_payment
from services.payments import capture_payment, request_payment, resume_payment, void_payment
from services.refunds import create_refund


class PaymentQueries:
    payment: Payment | None = query_one(
        Payment,
        by=by_id(),
        scope=Scope.PAYMENTS_READ,
        description="One payment, or null when there is none that you may see.",
    )
    refund: Refund | None = query_one(
        Refund,
        by=by_id(),
        scope=Scope.PAYMENTS_READ,
        description="One refund, or null when there is none that you may see.",
    )


@value_type(description="The payment, or why not.")
class PaymentRequestPayload:
    payment: Payment | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The payment, or why not.")
class PaymentRecordPayload:
    payment: Payment | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The payment, or why not.")
class PaymentCapturePayload:
    payment: Payment | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The payment, or why not.")
class PaymentVoidPayload:
    payment: Payment | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The payment, or why not.")
class PaymentResumePayload:
    payment: Payment | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The payment, or why not.")
class PaymentReportPayload:
    payment: Payment | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The refunds, one for each payment that gives; or why not.")
class RefundCreatePayload:
    refunds: list[Refund] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.PAYMENTS_WRITE,
    description=(
        "Asks for an order to be paid, again or by another method. Payments that still wait for the customer give "
        "way to it. The provider is asked by a job: the answer is PENDING, what comes of it is an event."
    ),
)
async def payment_request(
    info: Info, input: PaymentRequestInput, idempotency_key: str
) -> PaymentRequestPayload:
    payment_id = await write(info, request_payment, input.to_command(), key=idempotency_key)
    return PaymentRequestPayload(payment=ref(Payment, payment_id))


@mutation(
    scope=Scope.PAYMENTS_WRITE,
    description=(
        "Counts money that came by hand on a payment that no provider reports: a transfer, cash, a cheque. It may "
        "come in parts; what is too much is counted and put before staff."
    ),
)
async def payment_record(info: Info, input: PaymentRecordInput, idempotency_key: str) -> PaymentRecordPayload:
    payment_id = await write(info, record_payment, input.to_command(), key=idempotency_key)
    return PaymentRecordPayload(payment=ref(Payment, payment_id))


@mutation(
    scope=Scope.PAYMENTS_WRITE,
    description=(
        "Asks for authorised money, before or beyond what shipments ask for: at most what is authorised and due, "
        "else AmountExceeded."
    ),
)
async def payment_capture(
    info: Info, input: PaymentCaptureInput, idempotency_key: str
) -> PaymentCapturePayload:
    payment_id = await write(info, capture_payment, input.to_command(), key=idempotency_key)
    return PaymentCapturePayload(payment=ref(Payment, payment_id))


@mutation(
    scope=Scope.PAYMENTS_WRITE,
    description="Releases what is authorised and not captured, or gives up a payment that still waits.",
)
async def payment_void(info: Info, input: PaymentVoidInput, idempotency_key: str) -> PaymentVoidPayload:
    payment_id = await write(info, void_payment, input.to_command(), key=idempotency_key)
    return PaymentVoidPayload(payment=ref(Payment, payment_id))


@mutation(
    scope=Scope.PAYMENTS_WRITE,
    description=(
        "Passes on what the customer came back with from the provider's page, while the payment is "
        "ACTION_REQUIRED. The provider is asked at once what has become of it."
    ),
)
async def payment_resume(info: Info, input: PaymentResumeInput, idempotency_key: str) -> PaymentResumePayload:
    payment_id = await write(info, resume_payment, input.to_command(), key=idempotency_key)
    return PaymentResumePayload(payment=ref(Payment, payment_id))


@mutation(
    scope=Scope.PAYMENTS_WRITE,
    description=(
        "Reports what a provider or a marketplace did: authorised, received, settled, captured, released, refunded, "
        "charged back, or failed to. Facts are recorded always; what fits nothing becomes a discrepancy, money for "
        "an order that has ended goes back."
    ),
)
async def payment_report(info: Info, input: PaymentReportInput, idempotency_key: str) -> PaymentReportPayload:
    payment_id = await write(info, report_payment, input.to_command(), key=idempotency_key)
    return PaymentReportPayload(payment=ref(Payment, payment_id))


@mutation(
    scope=Scope.PAYMENTS_WRITE,
    description=(
        "Gives money back: at most what was received, less what was and is being given back, else AmountExceeded. "
        "Of an order with several payments the latest gives first."
    ),
)
async def refund_create(info: Info, input: RefundCreateInput, idempotency_key: str) -> RefundCreatePayload:
    refund_ids = await write(info, create_refund, input.to_command(), key=idempotency_key)
    return RefundCreatePayload(refunds=refs(Refund, refund_ids))
