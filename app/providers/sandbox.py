"""A payment provider to try things with: it keeps its own books and misbehaves on request.

It stands in for a remote service, so it has a connection of its own and a schema of
its own (`sandbox`), which no migration of ours knows. An effect is committed there
before an answer is given, late or lost; it can be asked about by transaction id. The
test number in a payment's token says how it behaves: see `docs/payments.md`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

import asyncpg
import orjson

from app.providers.protocol import ProviderRequest, ProviderResult
from app.settings import Environment, Settings
from db.engine import asyncpg_dsn
from domain.payments import PaymentMethod, TransactionKind
from services.transactions import Outcome


class Behaviour(StrEnum):
    APPROVE = "APPROVE"
    DECLINE = "DECLINE"
    ACTION = "ACTION"  # the customer must act first
    LATE = "LATE"  # answers PENDING; has done it two seconds later
    TIME_OUT = "TIME_OUT"  # does it, and never answers
    LOSE = "LOSE"  # does it, and the connection breaks


@dataclass(frozen=True, slots=True)
class Script:
    """How a test number behaves, and for how long its authorisations last."""

    authorize: Behaviour = Behaviour.APPROVE
    capture: Behaviour = Behaviour.APPROVE
    void: Behaviour = Behaviour.APPROVE
    refund: Behaviour = Behaviour.APPROVE
    lasts: timedelta = timedelta(days=7)


APPROVED = "4242424242424242"
NUMBERS: dict[str, Script] = {
    APPROVED: Script(),
    "4000000000000002": Script(authorize=Behaviour.DECLINE),
    "4000000000003220": Script(authorize=Behaviour.ACTION),
    "4000000000000077": Script(authorize=Behaviour.LATE),
    "4000000000000119": Script(authorize=Behaviour.TIME_OUT),
    "4000000000000341": Script(authorize=Behaviour.LOSE),
    "4000000000000259": Script(capture=Behaviour.DECLINE),
    "4000000000000267": Script(capture=Behaviour.LOSE),
    "4000000000000275": Script(void=Behaviour.LOSE),
    "4000000000000226": Script(refund=Behaviour.DECLINE),
    "4000000000000234": Script(refund=Behaviour.LOSE),
    "4000000000000408": Script(refund=Behaviour.LATE),
    "4000000000000390": Script(lasts=timedelta(seconds=3)),
}
"""The test numbers; any other token is approved."""

PAID, REFUSED = "approve", "decline"
"""What a customer may come back with after acting."""

LATE_BY = timedelta(seconds=2)

_INSTALL = """
select pg_advisory_xact_lock(hashtext('maestro sandbox provider'));
create schema if not exists sandbox;
create table if not exists sandbox.operation (
    transaction_id uuid primary key,
    payment_id uuid not null,
    number text not null,
    kind text not null,
    amount bigint not null,
    currency text not null,
    outcome text not null,
    instructions jsonb,
    failure text,
    expires_at timestamptz,
    settles_at timestamptz,
    created_at timestamptz not null default now()
);
create index if not exists ix_operation_payment on sandbox.operation (payment_id);
"""

_SUMS = """
select coalesce(sum(amount) filter (where kind in ('AUTHORIZATION', 'SALE')), 0) as authorized,
       coalesce(sum(amount) filter (where kind in ('CAPTURE', 'SALE')), 0) as captured,
       coalesce(sum(amount) filter (where kind = 'VOID'), 0) as voided,
       coalesce(sum(amount) filter (where kind = 'REFUND'), 0) as refunded,
       bool_or(kind = 'AUTHORIZATION' and expires_at <= now()) as expired
from sandbox.operation where payment_id = $1 and outcome in ('SUCCEEDED', 'PENDING')
"""


class SandboxProvider:
    """See the module. `address` is any PostgreSQL address; its pool is made when first needed."""

    askable = True

    def __init__(self, address: str) -> None:
        self._address = address
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def authorize(self, request: ProviderRequest, /) -> ProviderResult:
        kind = TransactionKind.SALE if request.at_once else TransactionKind.AUTHORIZATION
        behaviour = _script(request.token).authorize
        if behaviour is Behaviour.APPROVE and request.method in _INSTRUCTED:
            behaviour = Behaviour.ACTION
        return await self._do(request, kind, behaviour)

    async def capture(self, request: ProviderRequest, /) -> ProviderResult:
        return await self._do(request, TransactionKind.CAPTURE, await self._behaviour(request, "capture"))

    async def void(self, request: ProviderRequest, /) -> ProviderResult:
        return await self._do(request, TransactionKind.VOID, await self._behaviour(request, "void"))

    async def refund(self, request: ProviderRequest, /) -> ProviderResult:
        return await self._do(request, TransactionKind.REFUND, await self._behaviour(request, "refund"))

    async def status(self, request: ProviderRequest, /) -> ProviderResult | None:
        """What became of it. A late operation is done by the time it is due; one that waits for the
        customer ends with what the customer came back with."""
        async with (await self._connected()).acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                "select *, settles_at <= now() as due, created_at < now() - interval '1 day' as stale"
                " from sandbox.operation"
                " where transaction_id = $1 for update",
                request.transaction_id,
            )
            if row is None:
                return None
            outcome, failure = Outcome(row["outcome"]), row["failure"]
            due = outcome is Outcome.PENDING and row["due"]
            acted = outcome is Outcome.ACTION_REQUIRED and request.token in (PAID, REFUSED)
            if due or (acted and request.token == PAID):
                outcome = Outcome.SUCCEEDED
            elif acted or (outcome is Outcome.ACTION_REQUIRED and row["stale"]):
                outcome, failure = Outcome.FAILED, "The customer gave up."
            await connection.execute(
                "update sandbox.operation set outcome = $2, failure = $3 where transaction_id = $1",
                request.transaction_id,
                outcome,
                failure,
            )
            return replace(_result(row), outcome=outcome, failure=failure)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _connected(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                pool = await asyncpg.create_pool(
                    self._address, min_size=0, max_size=4, server_settings={"application_name": "oms-sandbox"}
                )
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute(_INSTALL)
                self._pool = pool
            return self._pool

    async def _behaviour(self, request: ProviderRequest, of: str) -> Behaviour:
        """By the number the payment was authorised with: a later token may be a customer's answer."""
        number = await (await self._connected()).fetchval(
            "select number from sandbox.operation where payment_id = $1 order by created_at limit 1",
            request.payment_id,
        )
        behaviour: Behaviour = getattr(_script(number), of)
        return behaviour

    async def _do(
        self, request: ProviderRequest, kind: TransactionKind, behaviour: Behaviour
    ) -> ProviderResult:
        """Commit the effect, once per transaction id, and only then answer; or fail to."""
        pool = await self._connected()
        async with pool.acquire() as connection, connection.transaction():
            # One operation of a payment at a time, so that its sums hold.
            await connection.execute(
                "select pg_advisory_xact_lock(hashtextextended($1, 0))", str(request.payment_id)
            )
            known = await connection.fetchrow(
                "select * from sandbox.operation where transaction_id = $1", request.transaction_id
            )
            if known is not None:
                return _result(known)
            sums = await connection.fetchrow(_SUMS, request.payment_id)
            outcome, failure = _decide(kind, request.amount, behaviour, sums)
            row = await connection.fetchrow(
                """insert into sandbox.operation (transaction_id, payment_id, number, kind, amount, currency,
                       outcome, failure, instructions, settles_at, expires_at)
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + $10::interval, now() + $11::interval)
                   returning *""",
                request.transaction_id,
                request.payment_id,
                request.token or APPROVED,
                kind,
                request.amount,
                request.currency,
                outcome,
                failure,
                _instructions(request) if outcome is Outcome.ACTION_REQUIRED else None,
                LATE_BY if outcome is Outcome.PENDING else None,
                _script(request.token).lasts if kind is TransactionKind.AUTHORIZATION else None,
            )
        if behaviour is Behaviour.TIME_OUT:
            await asyncio.Event().wait()
        if behaviour is Behaviour.LOSE:
            raise ConnectionResetError("the sandbox broke the connection after doing what it was asked")
        return _result(row)


_INSTRUCTED = frozenset({PaymentMethod.PIX, PaymentMethod.BANK_SLIP})
"""Methods whose customer is shown what to pay, and pays later."""


def _script(token: str | None) -> Script:
    return NUMBERS.get(token or APPROVED, NUMBERS[APPROVED])


def _decide(
    kind: TransactionKind, amount: int, behaviour: Behaviour, sums: Any
) -> tuple[Outcome, str | None]:
    """A provider keeps its own bounds, whatever we ask."""
    if behaviour is Behaviour.DECLINE:
        return Outcome.FAILED, "Refused by test number."
    held = sums["authorized"] - sums["captured"] - sums["voided"]
    if kind in (TransactionKind.CAPTURE, TransactionKind.VOID) and amount > held:
        return Outcome.FAILED, f"Only {held} of the authorisation is left."
    if kind is TransactionKind.CAPTURE and sums["expired"]:
        return Outcome.FAILED, "The authorisation has expired."
    if kind is TransactionKind.REFUND and amount > sums["captured"] - sums["refunded"]:
        return Outcome.FAILED, f"Only {sums['captured'] - sums['refunded']} can be given back."
    if behaviour is Behaviour.ACTION:
        return Outcome.ACTION_REQUIRED, None
    return (Outcome.PENDING if behaviour is Behaviour.LATE else Outcome.SUCCEEDED), None


def _instructions(request: ProviderRequest) -> str:
    shown = {"kind": str(request.method), "reference": str(request.transaction_id)}
    if request.method is PaymentMethod.PIX:
        shown["code"] = f"00020126sandbox{request.transaction_id.hex}"
    elif request.method is PaymentMethod.BANK_SLIP:
        shown["barcode"] = f"{request.transaction_id.int % 10**44:044d}"
    else:
        shown["url"] = f"https://sandbox.invalid/confirm/{request.transaction_id}"
    return orjson.dumps(shown).decode()


def _result(row: Any) -> ProviderResult:
    return ProviderResult(
        outcome=Outcome(row["outcome"]),
        provider_reference=f"sandbox-{row['transaction_id'].hex[-12:]}",
        instructions=orjson.loads(row["instructions"]) if row["instructions"] else None,
        expires_at=row["expires_at"],
        failure=row["failure"],
    )


def create(settings: Settings) -> SandboxProvider | None:
    """In production there is none: its approvals are not money."""
    if settings.environment is Environment.PRODUCTION or settings.database_url is None:
        return None
    return SandboxProvider(asyncpg_dsn(settings.database_url.get_secret_value()))
