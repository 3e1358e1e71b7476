"""Running plans: queries in one statement, mutations one after the other and read after COMMIT."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import asyncpg
import orjson
import structlog
from graphql import GraphQLError, OperationType
from strawberry.exceptions import StrawberryInputCoercionError

from app.graphql.answers import MUTATION, Result, error_json, masked, refused, with_throttle
from app.graphql.deadlines import Deadlines
from app.throttle import Throttle, Throttled
from db.keyed_reads import KeyedReads
from db.pool import NoConnection
from db.reads import Reads
from domain.access import Principal, VisibilityClass
from domain.errors import Refused
from schema.plan.arguments import InputError, Variables
from schema.plan.operation import RequestError, refuse
from schema.plan.payloads import BrokenPromise, Refusal
from schema.plan.planner import Planner, input_error
from schema.plan.plans import CallPlan, MutationPlan, QueryPlan, RootPlan, introspected
from schema.plan.roots import Info

log = structlog.get_logger(__name__)

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word for a connection that ended between two statements
    OSError,
)
"""The connection, not the statement, failed: a read may simply be asked again."""

REPLICA_WAIT_SECONDS = 0.5
"""How long a replica is waited for that has not yet replayed what a caller wrote; then the primary answers."""

FAILED = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    NoConnection,
)

LONG, WIDE = 4_096, 100
"""Characters, fields. Reading takes some 5 µs of CPU for each, a plan 0.3 ms: more is done beside the event loop."""

Made = TypeVar("Made")

ContextFactory = Callable[[Principal], Any]
NoteRefused = Callable[[Principal, str], None]


class _Answer:
    """A response while it is put together, in the order of the selection."""

    def __init__(self) -> None:
        self.fields: dict[str, bytes] = {}
        self.errors: list[GraphQLError] = []
        self.nothing = False  # a field that may not be null failed, so there is no data at all

    def fail(self, error: GraphQLError, key: str, *, nullable: bool) -> None:
        self.errors.append(error)
        self.fields[key] = b"null"
        self.nothing = self.nothing or not nullable

    def result(self, order: Sequence[str], cost: str) -> Result:
        fields = self.fields
        data = b",".join([b'"%b":%b' % (key.encode(), fields[key]) for key in order])
        errors = b""
        if self.errors:
            errors = b'"errors":%b,' % orjson.dumps([error_json(error) for error in self.errors])
        data = b"null" if self.nothing else b"{%b}" % data
        return Result(b'{%b"data":%b,"extensions":{"cost":%b}}' % (errors, data, cost.encode()))


class Executor:
    """Executes operations for principals.

    `reads` answers queries (a replica may), `primary` what was just written;
    `context_for` makes what mutations get as `info.context`, once per request.
    A request is given up after `deadline_seconds`, whatever it waits for. `note_refused` is told of each
    mutation, by its name, that its caller lacks a scope for.
    """

    def __init__(
        self,
        planner: Planner,
        reads: Reads,
        primary: Reads,
        context_for: ContextFactory,
        *,
        deadline_seconds: float = 30.0,
        throttle: Throttle | None = None,
        note_refused: NoteRefused | None = None,
    ) -> None:
        self._note_refused = note_refused
        self._making = ThreadPoolExecutor(1, thread_name_prefix="plans")
        self._throttle = throttle
        self._deadlines = Deadlines(deadline_seconds)
        self._planner = planner
        self._reads = reads
        self._primary = primary
        self._written = KeyedReads(primary)
        self._context_for = context_for

    async def execute(
        self,
        text: str,
        operation_name: str | None,
        variables: Mapping[str, Any],
        principal: Principal,
        *,
        mutations: bool = True,
        consistency: str | None = None,
    ) -> Result:
        """The finished response. Raises nothing but cancellation; what goes wrong is in the body.

        `consistency` is a position of the primary's log that the answer must not be older than.
        """
        operation = None
        try:
            if len(text) > LONG:
                read = await self._beside(self._planner.reading(text, operation_name))
                operation = self._planner.operation(text, operation_name, read)
            else:
                operation = self._planner.operation(text, operation_name)
            if operation.kind is OperationType.MUTATION and not mutations:
                raise refuse("Mutations are sent with POST.", "METHOD_NOT_ALLOWED")
            caller = VisibilityClass.of(principal)
            if operation.fields > WIDE:
                made = await self._beside(self._planner.making(operation, variables, caller))
                planned = self._planner.plan(operation, variables, caller, made)
            else:
                planned = self._planner.plan(operation, variables, caller)
            throttle = self._throttle
            status = (
                None if throttle is None else await throttle.charge(principal, planned.plan.cost.requested)
            )
        except RequestError as error:
            result = self._refused(error, principal)
            if result.status == 403 and operation is not None and self._note_refused is not None:
                for name in self._planner.mutations_of(operation, variables):
                    self._note_refused(principal, name)
            return result
        except Exception as error:
            return refused([masked(error, None, "plan")], 504 if isinstance(error, TimeoutError) else 500)
        if isinstance(planned.plan, QueryPlan):
            try:
                with self._deadlines.deadline():
                    reads = await self._fresh(consistency) if consistency else self._reads
                    result = await self._query(planned.plan, planned.values, principal, reads)
                    return result if status is None else with_throttle(result, status)
            except TimeoutError as error:
                return refused([masked(error, None, "query")], 504)
        # A client that leaves, or a deadline, stops the waiting; it does not stop the write.
        work = asyncio.ensure_future(self._mutation(planned.plan, planned.values, principal))
        try:
            with self._deadlines.deadline():
                result = await asyncio.shield(work)
                return result if status is None else with_throttle(result, status)
        except TimeoutError as error:
            return refused([masked(error, None, MUTATION)], 504)

    async def _beside(self, making: Callable[[], Made] | None) -> Made | None:
        """What takes long to make, made in a thread, one at a time, so that no other request waits for it."""
        if making is None:
            return None
        with self._deadlines.deadline():
            return await asyncio.get_running_loop().run_in_executor(self._making, making)

    def _refused(self, error: RequestError, principal: Principal) -> Result:
        if isinstance(error, Throttled):
            return replace(refused(error.errors, 429), retry_after=error.retry_after)
        if self._throttle is not None:
            self._throttle.charge_refused(principal)
        codes = {(shown.extensions or {}).get("code") for shown in error.errors}
        status = 405 if "METHOD_NOT_ALLOWED" in codes else 403 if "FORBIDDEN" in codes else 400
        return refused(error.errors, status)

    # Queries.

    async def _fresh(self, consistency: str) -> Reads:
        """Where a caller reads that has seen this position: the replica once it is there, else the primary."""
        if self._reads is self._primary:
            return self._primary
        try:
            replayed = await self._reads.has_replayed(consistency, within_seconds=REPLICA_WAIT_SECONDS)
        except FAILED:
            return self._primary
        return self._reads if replayed else self._primary

    async def _query(self, plan: QueryPlan, values: Variables, principal: Principal, reads: Reads) -> Result:
        bound = self._planner.values_of(principal)
        reading = plan.reading
        answer = _Answer()
        if reading and plan.together is not None:
            try:
                texts = await self._fetch_row(reads, plan.together.sql, plan.together.values(values, bound))
                for root, text in zip(reading, texts, strict=True):
                    self._show(answer, root, text)
            except (InputError, *FAILED) as error:
                if len(reading) == 1:
                    self._fail(answer, reading[0], error)
                else:
                    await self._each(answer, reading, values, bound, reads)
        for root in plan.roots:
            if root.constant is not None:
                answer.fields[root.key] = root.constant.encode()
            elif root.failure is not None:
                answer.fail(root.failure, root.key, nullable=root.nullable)
            elif root.introspection is not None:
                _introspect(answer, plan, root, values)
        return answer.result([root.key for root in plan.roots], plan.cost.text())

    async def _each(
        self,
        answer: _Answer,
        roots: list[RootPlan],
        values: Mapping[str, Any],
        bound: Mapping[str, Any],
        reads: Reads,
    ) -> None:
        """One statement failed for several roots: ask for each once, in one snapshot; the others answer."""
        try:
            async with reads.snapshot() as connection:
                for root in roots:
                    try:
                        parameters = root.statement.values(values, bound)
                        async with connection.transaction():
                            text = await connection.fetchval(root.statement.sql, *parameters)
                    except (InputError, asyncpg.PostgresError) as error:
                        if isinstance(error, LOST):
                            raise
                        self._fail(answer, root, error)
                    else:
                        self._show(answer, root, text)
        except FAILED as error:
            for root in roots:
                if root.key not in answer.fields:
                    self._fail(answer, root, error)

    async def _fetch_row(self, reads: Reads, sql: str, values: list[Any]) -> Sequence[Any]:
        try:
            return await reads.fetch_row(sql, values)
        except LOST:
            # A replica that is gone is not asked a second time.
            return await self._primary.fetch_row(sql, values)

    def _show(self, answer: _Answer, root: RootPlan, text: bytes | None) -> None:
        try:
            answer.fields[root.key] = root.checked(text)
        except BrokenPromise as broken:
            answer.fail(_broken(broken, root.key), root.key, nullable=root.nullable)

    def _fail(self, answer: _Answer, root: RootPlan, error: BaseException) -> None:
        shown = (
            input_error(error, root.key)
            if isinstance(error, InputError)
            else masked(error, [root.key], root.name)
        )
        answer.fail(shown, root.key, nullable=root.nullable)

    # Mutations.

    async def _mutation(self, plan: MutationPlan, values: Variables, principal: Principal) -> Result:
        answer = _Answer()
        context = self._context_for(principal)
        for call in plan.calls:
            if isinstance(call, RootPlan):
                if call.constant is not None:
                    answer.fields[call.key] = call.constant.encode()
                continue
            try:
                text = await self._call(plan, call, values, context, principal)
                answer.fields[call.key] = text.encode()
            except InputError as error:
                self._fail_call(answer, call, input_error(error, call.key))
            except BrokenPromise as broken:
                self._fail_call(answer, call, _broken(broken, call.key))
            except Exception as error:
                self._fail_call(answer, call, masked(error, [call.key], call.name))
        result = answer.result([call.key for call in plan.calls], plan.cost.text())
        if self._reads is self._primary:
            return result
        try:
            return replace(result, consistency=await self._primary.position())
        except FAILED:
            log.warning("consistency.unknown", exc_info=True)
            return result

    def _fail_call(self, answer: _Answer, call: CallPlan, error: GraphQLError) -> None:
        """Data stays for the fields that did commit: a payload that cannot be shown is null, even where
        the schema promises one, because hiding its neighbours would hide committed work."""
        answer.fail(error, call.key, nullable=True)

    async def _call(
        self,
        plan: MutationPlan,
        call: CallPlan,
        values: Mapping[str, Any],
        context: Any,
        principal: Principal,
    ) -> str:
        arguments = call.arguments(values)
        try:
            converted = self._planner.converted(call, arguments)
        except (StrawberryInputCoercionError, GraphQLError) as error:
            raise InputError(str(error)) from error
        plan.entities.check_values(values)
        info = Info(context, call.nodes[0].name.value, arguments)
        try:
            payload = await call.call.function(info, **converted)
        except Refused as refused_:
            payload = Refusal(refused_.errors)
        rendering = plan.entities.rendering()
        rendering.value(call.field.type, call.nodes, payload, call.name)
        bound = self._planner.values_of(principal)
        found = {}
        for selection, keys in rendering.wanted().items():
            statement = plan.entities.statement(selection, rendering.selections[selection])
            parameters, bounds = statement.values(values), statement.bounds_of(bound)
            try:
                texts = await self._written.fetch(statement.sql, parameters, bounds, keys)
            except LOST:
                texts = await self._written.fetch(statement.sql, parameters, bounds, keys)
            plan.entities.check(selection, texts)
            found[selection] = texts
        return rendering.text(found)


def _broken(broken: BrokenPromise, key: str) -> GraphQLError:
    return GraphQLError(
        f"Cannot return null for non-nullable field {broken}.", path=[key], extensions={"code": "INTERNAL"}
    )


def _introspect(answer: _Answer, plan: QueryPlan, root: RootPlan, values: Mapping[str, Any]) -> None:
    """graphql-core answers about the schema; its answer is kept where no variable can change it."""
    result = introspected(plan.operation, root.introspection or [], values)
    if result.errors:
        answer.fail(result.errors[0], root.key, nullable=root.nullable)
        return
    text = orjson.dumps(result.data[root.key])
    answer.fields[root.key] = text
    if not plan.operation.definition.variable_definitions:
        root.constant = text.decode()
