"""The ASGI application: everything that a server process runs, put together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime

import asyncpg
import structlog
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app import providers
from app.access import Access
from app.audit import write_refusals
from app.auth import Authenticator
from app.claims import Claims
from app.graphql.execution import Executor
from app.graphql.http import GraphQLEndpoint
from app.graphql.requests import PersistedDocuments, trusted_documents
from app.http import routes
from app.issuer import Issuer
from app.links import GuestLinks
from app.live.frames import Connections
from app.live.live import Live, cancel
from app.live.settings import live_bounds
from app.logging import RequestLog, configure
from app.origins import is_foreign
from app.settings import Environment, Settings
from app.throttle import ChargedSubscriptions, RedisBuckets, Throttle
from app.workers import Workers
from db import visibility
from db.engine import Engine, create_write_engine
from db.pool import NoConnection
from db.reads import Reads
from domain.access import Principal
from resolvers.context import Context
from resolvers.root import make_schema
from schema.plan.limits import Limits
from schema.plan.planner import Planner
from services.audit import Call
from services.unit_of_work import UnitOfWork

GARBAGE = (5_000, 20, 15)
"""Objects, and generations, between collections. With Python's own (700, 10, 10), full collections took half of the
CPU of connecting 5,000 subscribers; they come here after at most 1.5 million objects, so that what closed sockets
leave behind, if they are cycles, stays bounded."""

log = structlog.get_logger("server")

THROTTLE_POINTS = 100_000
"""Of every caller, in production: ten operations as costly as any may be."""

ADDRESS: ContextVar[str | None] = ContextVar("address", default=None)
"""Where the request being served comes from, as the web server knows it or a trusted proxy says."""

START_TIMEOUT_SECONDS = 30.0


class Server:
    """What one process shares between its requests; started and stopped with the ASGI lifespan."""

    def __init__(self, settings: Settings, *, workers: bool = True) -> None:
        if settings.database_url is None:
            raise ValueError("a server needs OMS_DATABASE_URL")
        url = settings.database_url.get_secret_value()
        read_url = (settings.database_read_url or settings.database_url).get_secret_value()
        timeout = settings.execution_timeout_seconds
        self._settings = settings
        self.engine: Engine = create_write_engine(
            url, pool_size=settings.pool_size, statement_timeout_seconds=timeout
        )
        # A little earlier than the request as a whole, so that the answer can name the field.
        statement = 0.9 * timeout
        self.primary = Reads(url, size=settings.pool_size, statement_timeout_seconds=statement)
        self.reads = (
            self.primary
            if read_url == url
            else Reads(read_url, size=settings.pool_size, statement_timeout_seconds=statement)
        )
        self.planner = Planner(
            make_schema(),
            visibility.predicate,
            visibility.values,
            partition=visibility.partition,
            limits=Limits(
                tokens=settings.token_limit,
                depth=settings.depth_limit,
                aliases=settings.alias_limit,
                root_fields=settings.root_field_limit,
                directives=settings.directive_limit,
                cost=settings.cost_limit,
            ),
            introspection=settings.environment is Environment.DEVELOPMENT,
        )
        secret = settings.development_secret
        self._issuer = (
            Issuer(settings.jwt_issuer, settings.jwt_audience, settings.jwt_jwks_url, _claims(settings))
            if settings.jwt_issuer and settings.jwt_audience and settings.jwt_jwks_url
            else None
        )
        self._background: list[asyncio.Task[None]] = []
        self.access = Access(self.primary, self.engine)
        self.links = _links(settings)
        self.authenticator = Authenticator(
            secret.get_secret_value() if secret else None,
            self._issuer,
            links=self.links,
            keys=self.access.keys,
            revoked=self.access.revoked,
        )
        self.access.changed = self._access_changed
        self.throttle = _throttle(settings)
        self.executor = Executor(
            self.planner,
            self.reads,
            self.primary,
            self._context,
            deadline_seconds=timeout,
            throttle=self.throttle,
            note_refused=self._note_refused,
        )
        trusted = settings.trusted_documents
        self.documents = PersistedDocuments(trusted_documents(trusted) if trusted else None)
        broadcast = settings.broadcast_url.get_secret_value() if settings.broadcast_url else None
        self.live = Live(
            url,
            broadcast,
            planner=ChargedSubscriptions(self.planner, self.throttle),
            authenticator=self.authenticator,
            execute=self.executor.execute,
            documents=self.documents,
            bounds=live_bounds(settings),
        )
        self.unit_of_work = UnitOfWork(self.engine, on_commit=self.live.poke)
        self._providers = providers.load(settings) if workers else {}
        self._workers = (
            Workers(settings, self.engine, self.unit_of_work, self._providers) if workers else None
        )
        if self._workers is not None:
            self.live.on_moved = self._workers.moved
        self.ready = False

    def _context(self, principal: Principal) -> Context:
        request_id = structlog.contextvars.get_contextvars().get("request_id", "")
        return Context(
            principal=principal,
            unit_of_work=self.unit_of_work,
            request_id=request_id,
            address=ADDRESS.get(),
            sign_guest_token=None if self.links is None else self.links.sign,
        )

    def _note_refused(self, principal: Principal, mutation: str) -> None:
        context = self._context(principal)
        call = Call(mutation, context.address, context.request_id or None)
        self.unit_of_work.refused.note(call, "FORBIDDEN", actor=principal, now=datetime.now(UTC))

    async def start(self) -> None:
        await self.primary.open()
        if self.reads is not self.primary:
            await self.reads.open()
        await self.access.refresh()
        try:
            # It waits until the log was read once; a server that never could must not wait, deaf to signals.
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await self.live.start()
        except TimeoutError:
            raise RuntimeError("the event log cannot be read; the reason is in the lines above") from None
        self._background.append(asyncio.create_task(self.access.run()))
        self._background.append(asyncio.create_task(write_refusals(self.unit_of_work.refused, self.engine)))
        if self._issuer is not None:
            self._background.append(asyncio.create_task(self._issuer.run()))
        if self._workers is not None:
            await self._workers.start()
        # What is loaded by now stays: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        self.ready = True

    async def stop(self) -> None:
        self.ready = False
        await cancel(self._background)
        await self.access.close()
        if self.throttle is not None:
            await self.throttle.close()
        if self._workers is not None:
            await self._workers.stop(self._settings.shutdown_timeout_seconds)
        await self.live.stop()
        await providers.close(self._providers.values())
        if self.reads is not self.primary:
            await self.reads.close()
        await self.primary.close()
        await self.engine.dispose()

    async def _access_changed(self) -> None:
        """Something was revoked: whoever it was is asked again, on open connections now."""
        self.authenticator.forget()
        await self.live.close_revoked()

    async def why_not_ready(self) -> str | None:
        """For `/readyz`: None when the database answers and nobody has told us to stop."""
        if not self.ready:
            return "starting or stopping"
        try:
            await self.primary.fetch_row("select 1", ())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, NoConnection) as error:
            log.warning("not_ready", error=str(error))
            return "the database does not answer"
        return None

    async def drain(self) -> None:
        """Told to stop: not ready any more, and streams end, spread over a moment."""
        self.ready = False
        await self.live.drain()


def _claims(settings: Settings) -> Claims:
    return Claims(
        kind=settings.jwt_kind_claim,
        scopes=settings.jwt_scope_claim,
        channels=settings.jwt_channels_claim,
        locations=settings.jwt_locations_claim,
        customer=settings.jwt_customer_claim,
        company=settings.jwt_company_claim,
    )


def _links(settings: Settings) -> GuestLinks | None:
    """What signs portal links; under `oms up` the secret that signs everything else there."""
    given = (
        settings.guest_link_secret or settings.development_secret,
        settings.guest_link_secret_previous,
    )
    secrets = [secret.get_secret_value() for secret in given if secret is not None]
    return GuestLinks(secrets) if given[0] is not None else None


def _throttle(settings: Settings) -> Throttle | None:
    points = settings.throttle_points
    if points is None:
        points = THROTTLE_POINTS if settings.environment is Environment.PRODUCTION else 0
    if points == 0:
        return None
    url = settings.throttle_url or settings.broadcast_url
    address = url.get_secret_value() if url is not None else ""
    rate = settings.throttle_restore
    shared = RedisBuckets(address, points, rate) if address.startswith(("redis://", "rediss://")) else None
    return Throttle(points, rate, shared)


class Application:
    """The ASGI application, and what the web server calls before it stops listening to connections."""

    def __init__(self, app: ASGIApp, drain: Callable[[], Awaitable[None]]) -> None:
        self._app = app
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def create_app(settings: Settings, *, workers: bool = True) -> Application:
    """The application that uvicorn serves; `workers` off when they run in processes of their own."""
    configure(settings.log_format, settings.log_level)
    server = Server(settings, workers=workers)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    beside = Starlette(routes=routes(settings, server.why_not_ready), lifespan=lifespan)
    endpoint = GraphQLEndpoint(
        server.executor,
        server.authenticator.authenticate,
        body_limit_bytes=settings.body_limit_bytes,
        documents=server.documents,
        streams=server.live.streams,
    )

    origins = frozenset(
        origin.strip().lower() for origin in settings.allowed_origins.split(",") if origin.strip()
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        ADDRESS.set(client[0] if client else None)
        if scope["type"] == "websocket" and is_foreign(scope, origins):
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
        elif scope["type"] == "websocket" and scope["path"] == "/graphql":
            await server.live.websocket(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/graphql":
            await endpoint(scope, receive, send)
        else:
            await beside(scope, receive, send)

    return Application(Connections(RequestLog(dispatch, settings.log_format)), server.drain)
