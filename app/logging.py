"""One kind of log line for everything that logs: ours, uvicorn's, the queue's, the migrations'.

A line has a time, a level, an event and the request it belongs to. Values under
names that hold secrets, and passwords inside addresses, never reach the output.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import logging
import os
import re
import sys
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.lean import without
from app.settings import LogFormat, LogLevel

# rich shows tracebacks with their variables, and ours hold secrets; greenlet is 1 MB that nothing here runs on.
with without("rich", "greenlet"):
    import structlog
    from structlog.tracebacks import ExceptionDictTransformer
    from structlog.typing import EventDict, ExcInfo, Processor

SECRET_NAMES = frozenset(
    {
        "authorization",
        "cookie",
        "set-cookie",
        "token",
        "access_token",
        "secret",
        "password",
        "api_key",
        "x-api-key",
    }
)
PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+(?=@)")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
HIDDEN = "…"

_process = os.urandom(8).hex()
_count = itertools.count(1)


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Send every logger of the process to standard error in the chosen format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        hide_secrets,
    ]
    if log_format is LogFormat.JSON:
        final: list[Processor] = [
            # Local variables stay out: they hold tokens and personal data.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
        logger_factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        final = [
            printable_values,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback),
        ]
        logger_factory = structlog.PrintLoggerFactory(sys.stderr)
    threshold = logging.getLevelName(level.upper())
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=logger_factory,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                hide_secrets,
                *final,
                _text,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # Their lines at INFO say what ours say better; the access log is ours.
    for name in ("uvicorn.access", "uvicorn.error", "alembic", "pgqueuer", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def hide_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    """Blank what is named like a secret, and passwords inside addresses."""
    for name, value in event.items():
        if name.lower() in SECRET_NAMES:
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = without_password(value)
    return event


def without_password(text: str) -> str:
    return PASSWORD_IN_ADDRESS.sub(rf"\1:{HIDDEN}", text) if "://" in text else text


def printable_values(_: Any, __: str, event: EventDict) -> EventDict:
    """Escape what would write a line of its own, colour the terminal or turn its text round; JSON does so itself."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = _printable(value)
    return event


def _printable(text: str, keep: str = "") -> str:
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _traceback(output: TextIO, raised: ExcInfo) -> None:
    """The plain one, because the rich one shows local variables."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, raised)
    output.write(_printable(text.getvalue(), keep="\n"))


def _json(value: Any, **_: Any) -> bytes:
    return orjson.dumps(value, default=str)


def _text(_: Any, __: str, line: Any) -> str:
    """The standard library's handlers write text."""
    return line.decode() if isinstance(line, bytes) else str(line)


class RequestLog:
    """ASGI: gives every request an id, echoes it as `x-request-id`, and writes one line when it ends.

    A caller's own id is kept when it is short and plain. Query strings and headers are
    not written: they may carry tokens and personal data.
    """

    def __init__(self, app: ASGIApp, log_format: LogFormat = LogFormat.JSON) -> None:
        self._app = app
        self._line = RequestLines() if log_format is LogFormat.JSON else _console_line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        # Each request runs in a task of its own, whose context ends with it.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        started = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
                _add_header(message, request_id)
            elif kind == "websocket.accept":
                status = 101
                _add_header(message, request_id)
            elif kind == "websocket.close":
                status = message.get("code", 1000)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if logging.root.isEnabledFor(logging.INFO):
                self._line(
                    method=scope.get("method", "WEBSOCKET"),
                    path=without_password(scope["path"]),
                    status=status,
                    milliseconds=round((time.perf_counter() - started) * 1000, 2),
                    request_id=request_id,
                )


def _console_line(**fields: Any) -> None:
    structlog.get_logger().info("request", **fields)


class RequestLines:
    """The line structlog would write, without its 15 µs; requests that end in one turn of the loop share a write."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._output: structlog.BytesLogger = structlog.get_config()["logger_factory"]()

    def __call__(self, **fields: Any) -> None:
        fields["level"] = "info"
        fields["event"] = "request"
        fields["timestamp"] = datetime.now(UTC)
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append(orjson.dumps(fields, option=orjson.OPT_UTC_Z))

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        self._output.msg(b"\n".join(lines))


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """The caller's `x-request-id` if it is plain, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if REQUEST_ID.fullmatch(value):
                return str(value, "ascii")
            break
    return f"{_process}{next(_count):016x}"


def _add_header(message: Message, request_id: str) -> None:
    message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
