"""The ASGI application: everything that a server process runs, put together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app import providers
from app.auth import Authenticator
from app.graphql.execution import Executor
from app.graphql.http import GraphQLEndpoint
from app.graphql.requests import PersistedDocuments, trusted_documents
from app.http import routes
from app.issuer import Issuer
from app.live.frames import Connections
from app.live.live import Live
from app.logging import RequestLog, configure
from app.settings import Environment, Settings
from app.workers import Workers
from db import visibility
from db.engine import create_write_engine
from db.reads import Reads, ReadsBusy
from domain.access import Principal
from resolvers.context import Context
from resolvers.root import make_schema
from schema.plan.limits import Limits
from schema.plan.planner import Planner
from services.unit_of_work import UnitOfWork

log = structlog.get_logger("server")

EVENT_STREAM = "text/event-stream"


class Server:
    """What one process shares between its requests; started and stopped with the ASGI lifespan."""

    def __init__(self, settings: Settings, *, workers: bool = True) -> None:
        if settings.database_url is None:
            raise ValueError("a server needs OMS_DATABASE_URL")
        url = settings.database_url.get_secret_value()
        read_url = (settings.database_read_url or settings.database_url).get_secret_value()
        timeout = settings.execution_timeout_seconds
        self._settings = settings
        self.engine: AsyncEngine = create_write_engine(
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
            Issuer(settings.jwt_issuer, settings.jwt_audience, settings.jwt_jwks_url)
            if settings.jwt_issuer and settings.jwt_audience and settings.jwt_jwks_url
            else None
        )
        self._keys: asyncio.Task[None] | None = None
        self.authenticator = Authenticator(secret.get_secret_value() if secret else None, self._issuer)
        self.executor = Executor(
            self.planner, self.reads, self.primary, self._context, deadline_seconds=timeout
        )
        trusted = settings.trusted_documents
        self.documents = PersistedDocuments(trusted_documents(trusted) if trusted else None)
        broadcast = settings.broadcast_url.get_secret_value() if settings.broadcast_url else None
        self.live = Live(
            url,
            broadcast,
            planner=self.planner,
            authenticator=self.authenticator,
            execute=self.executor.execute,
            documents=self.documents,
        )
        self.unit_of_work = UnitOfWork(self.engine, on_commit=self.live.poke)
        self._providers = providers.load(settings) if workers else {}
        self._workers = (
            Workers(settings, self.engine, self.unit_of_work, self._providers) if workers else None
        )
        self.ready = False

    def _context(self, principal: Principal) -> Context:
        request_id = structlog.contextvars.get_contextvars().get("request_id", "")
        return Context(principal=principal, unit_of_work=self.unit_of_work, request_id=request_id)

    async def start(self) -> None:
        await self.primary.open()
        if self.reads is not self.primary:
            await self.reads.open()
        await self.live.start()
        if self._issuer is not None:
            self._keys = asyncio.create_task(self._issuer.run())
        if self._workers is not None:
            await self._workers.start()
        # What is loaded by now stays: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        self.ready = True

    async def stop(self) -> None:
        self.ready = False
        if self._keys is not None:
            self._keys.cancel()
        if self._workers is not None:
            await self._workers.stop(self._settings.shutdown_timeout_seconds)
        await self.live.stop()
        await providers.close(self._providers.values())
        if self.reads is not self.primary:
            await self.reads.close()
        await self.primary.close()
        await self.engine.dispose()

    async def why_not_ready(self) -> str | None:
        """For `/readyz`: None when the database answers and nobody has told us to stop."""
        if not self.ready:
            return "starting or stopping"
        try:
            await self.primary.fetch_row("select 1", ())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ReadsBusy) as error:
            log.warning("not_ready", error=str(error))
            return "the database does not answer"
        return None

    async def drain(self) -> None:
        """Told to stop: not ready any more, and streams end, spread over a moment."""
        self.ready = False
        await self.live.drain()


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
        streams={EVENT_STREAM: server.live.stream},
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == "/graphql":
            await server.live.websocket(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/graphql":
            await endpoint(scope, receive, send)
        else:
            await beside(scope, receive, send)

    return Application(Connections(RequestLog(dispatch)), server.drain)
