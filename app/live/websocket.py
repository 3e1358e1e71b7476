"""GraphQL over WebSocket: the protocol `graphql-transport-ws`, queries and mutations included.

https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverWebSocket.md
A message that breaks the protocol closes the socket with the protocol's code; an
operation that fails ends alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from app.auth import Authenticator, Caller, Unauthenticated
from app.graphql.answers import Result
from app.graphql.requests import BadRequest, GraphQLRequest, PersistedDocuments, from_message
from app.live import frames, metrics
from app.live.audiences import Item
from app.live.bounds import Bounds
from app.live.operations import Operations, error_list, errors_of
from app.live.streams import header
from app.live.subscribers import Gone, Subscriber
from domain.access import Principal

SUBPROTOCOL = "graphql-transport-ws"
LONGEST_ID = 128
LONGEST_REASON = 123
"""Bytes of a reason to close: RFC 6455, 5.5 and 5.5.1."""

GOING_AWAY, TOO_BIG, TRY_AGAIN_LATER = 1001, 1009, 1013
BAD_MESSAGE, UNAUTHORIZED, FORBIDDEN = 4400, 4401, 4403
NO_SUBPROTOCOL, INIT_TIMEOUT, ID_TAKEN, INIT_TWICE = 4406, 4408, 4409, 4429

log = structlog.get_logger("live")


class SocketOutlet:
    """One operation's way to its socket."""

    __slots__ = ("_id", "_prefix", "_socket")

    def __init__(self, socket: Socket, id: str) -> None:
        self._socket = socket
        self._id = id
        self._prefix = b'{"id":' + orjson.dumps(id) + b',"type":"next","payload":'

    def offer(self, items: Sequence[Item]) -> bool:
        direct = self._socket.direct
        return direct is not None and direct.write(self._prefix, items)

    async def send(self, items: Sequence[Item]) -> None:
        await self._socket.send_items(self._prefix, items)

    def fail(self, message: str, extensions: Mapping[str, Any]) -> None:
        self._socket.end(self._id, b"error", error_list(message, extensions))


class Socket:
    """One connection, from its upgrade to its close."""

    def __init__(
        self,
        operations: Operations,
        authenticator: Authenticator,
        documents: PersistedDocuments,
        bounds: Bounds,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.direct = frames.direct_frames(scope)
        self._starter = operations
        self._authenticator = authenticator
        self._documents = documents
        self._bounds = bounds
        self.caller: Caller | None = None
        self._scope = scope
        self._receive = receive
        self._send = send
        self._initialised = False
        self._closing = False
        self._operations: dict[str, asyncio.Task[None] | Subscriber] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, *, refuse: int | None = None) -> None:
        """Serve the connection until it closes; `refuse` it, with this code, when it cannot be served."""
        await self._receive()
        if refuse is not None:
            await self._send({"type": "websocket.close", "code": refuse})
            return
        if SUBPROTOCOL not in self._scope["subprotocols"]:
            await self._send({"type": "websocket.accept"})
            await self.close(NO_SUBPROTOCOL, "Subprotocol not acceptable")
            return
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        self._close_after(self._bounds.init_seconds, INIT_TIMEOUT, "Connection initialisation timeout")
        try:
            while not self._closing:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    break
                await self._read(message)
        except Gone:
            pass
        finally:
            self._leave()
            if self.direct is not None and self.direct.is_behind():
                # The server closes it once the client has taken everything; one that takes nothing is cut off.
                asyncio.get_running_loop().call_later(self._bounds.send_seconds, self._cut)

    def _cut(self) -> None:
        if self.direct is not None:
            self.direct.cut()
        else:
            frames.abort(self._scope)

    async def close(self, code: int, reason: str) -> None:
        """Close the socket once, with the protocol's code."""
        if self._closing:
            return
        self._closing = True
        self._leave()
        reason = reason.encode()[:LONGEST_REASON].decode(errors="ignore")
        try:
            async with asyncio.timeout(self._bounds.send_seconds):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            self._cut()
        except (OSError, RuntimeError) as error:
            log.debug("socket_gone", error=repr(error))

    async def refuse(self, reason: str) -> None:
        """Close it, because its credentials count no longer."""
        await self.close(FORBIDDEN, f"Forbidden: {reason}")

    async def send(self, message: bytes) -> None:
        """Send as soon as the client takes it; raises `Gone` when it does not, or has left."""
        if self._closing:
            raise Gone
        if self.direct is None or not self.direct.write_message(message):
            await self._within_deadline(self._send({"type": "websocket.send", "text": message.decode()}))

    async def send_items(self, prefix: bytes, items: Sequence[Item]) -> None:
        """The same for a message of each item."""
        if self.direct is None:
            for item in items:
                await self.send(prefix + item[1] + frames.END)
            return
        if self._closing:
            raise Gone
        if not self.direct.write(prefix, items):
            await self._within_deadline(self._written(self.direct, prefix, items))

    async def _written(self, direct: frames.DirectFrames, prefix: bytes, items: Sequence[Item]) -> None:
        if not await direct.written(prefix, items):
            raise Gone

    async def _within_deadline(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._bounds.send_seconds):
                await sending
        except TimeoutError:
            metrics.EVICTIONS.inc()
            log.warning("slow_reader_cut_off", seconds=self._bounds.send_seconds)
            self._cut()
            raise Gone from None
        except (OSError, RuntimeError) as error:  # the latter: the server has closed it on its own
            raise Gone from error

    def end(self, id: str, kind: bytes, payload: bytes | None = None) -> None:
        """The server ends an operation: `complete`, or `error` with the list of errors."""
        if self._operations.pop(id, None) is None:
            return
        body = b"" if payload is None else b',"payload":' + payload
        self._spawn(
            self._send_quietly(b'{"id":' + orjson.dumps(id) + b',"type":"' + kind + b'"' + body + b"}")
        )

    # Messages.

    async def _read(self, message: Any) -> None:
        text = message.get("text")
        if text is None:
            await self.close(BAD_MESSAGE, "Messages are text, not binary")
            return
        if len(text) > self._bounds.message_bytes:
            await self.close(TOO_BIG, f"A message may have {self._bounds.message_bytes} bytes")
            return
        try:
            decoded = orjson.loads(text)
        except orjson.JSONDecodeError:
            decoded = None
        kind = decoded.get("type") if isinstance(decoded, dict) else None
        match kind:
            case "connection_init" if _may_be_empty(decoded):
                await self._initialise(decoded)
            case "ping" if _may_be_empty(decoded):
                await self._pong(decoded)
            case "pong" if _may_be_empty(decoded):
                pass
            case "subscribe" if _names_operation(decoded) and "payload" in decoded:
                await self._subscribe(decoded)
            case "complete" if _names_operation(decoded):
                self._complete(decoded["id"])
            case _:
                await self.close(BAD_MESSAGE, "Invalid message received")

    async def _pong(self, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"type": "pong"}
        if message.get("payload") is not None:
            answer["payload"] = message["payload"]
        await self.send(orjson.dumps(answer))

    async def _initialise(self, message: dict[str, Any]) -> None:
        if self._initialised:
            await self.close(INIT_TWICE, "Too many initialisation requests")
            return
        self._initialised = True
        try:
            caller = await self._authenticator.admit(
                _authorization(message.get("payload") or {}, self._scope)
            )
        except Unauthenticated as refused:
            await self.close(FORBIDDEN, f"Forbidden: {refused}")
            return
        self._cancel_timers()
        # For clocks that differ a token is accepted a little beyond its end; then this is a short visit.
        if math.isfinite(caller.expires):
            visit = max(caller.expires - time.time(), 1.0)
            self._close_after(visit, FORBIDDEN, "Forbidden: the token has expired")
        self.caller = caller
        await self.send(b'{"type":"connection_ack"}')

    async def _subscribe(self, message: dict[str, Any]) -> None:
        id = message["id"]
        if self.caller is None:
            await self.close(UNAUTHORIZED, "Unauthorized")
        elif id in self._operations:
            await self.close(ID_TAKEN, f"Subscriber for {id} already exists")
        elif len(self._operations) >= self._bounds.operations_per_socket:
            limit = f"A socket carries {self._bounds.operations_per_socket} operations at a time."
            await self._refuse(id, limit, "TOO_MANY_OPERATIONS")
        else:
            await self._begin(id, message["payload"], self.caller.principal)

    async def _begin(self, id: str, payload: Any, principal: Principal) -> None:
        try:
            request = from_message(payload, self._documents)
        except BadRequest as bad:
            if bad.code == "BAD_REQUEST":
                await self.close(BAD_MESSAGE, f"Invalid message received: {bad}")
            else:
                await self._refuse(id, str(bad), bad.code)
            return
        outlet = SocketOutlet(self, id)
        self._operations[id] = self._spawn(self._execute(id, request, principal, outlet))

    async def _refuse(self, id: str, message: str, code: str) -> None:
        errors = error_list(message, {"code": code})
        await self.send(b'{"id":' + orjson.dumps(id) + b',"type":"error","payload":' + errors + b"}")

    async def _execute(
        self, id: str, request: GraphQLRequest, principal: Principal, outlet: SocketOutlet
    ) -> None:
        outcome = await self._starter.start(request, principal, outlet)
        if id not in self._operations:
            if isinstance(outcome, Subscriber):
                outcome.close()
            return
        if isinstance(outcome, Subscriber):
            if not outcome.closed:
                self._operations[id] = outcome
            return
        await self._answer(id, outcome, outlet)

    async def _answer(self, id: str, result: Result, outlet: SocketOutlet) -> None:
        errors = errors_of(result)
        if errors is not None:
            self.end(id, b"error", errors)
            return
        try:
            await outlet.send([(0, result.body, None)])
        except Gone:
            return
        self.end(id, b"complete")

    def _complete(self, id: str) -> None:
        """The client wants no more of this operation."""
        _stop(self._operations.pop(id, None))

    # Ends.

    async def _send_quietly(self, message: bytes) -> None:
        with contextlib.suppress(Gone):
            await self.send(message)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _close_after(self, seconds: float, code: int, reason: str) -> None:
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(seconds, lambda: self._spawn(self.close(code, reason))))

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _leave(self) -> None:
        self._cancel_timers()
        operations, self._operations = self._operations, {}
        for operation in operations.values():
            _stop(operation)


def _may_be_empty(message: dict[str, Any]) -> bool:
    """Whether its payload, which it need not have, is an object."""
    return isinstance(message.get("payload"), dict | None)


def _names_operation(message: dict[str, Any]) -> bool:
    id = message.get("id")
    return isinstance(id, str) and 0 < len(id) <= LONGEST_ID


def _stop(operation: asyncio.Task[None] | Subscriber | None) -> None:
    if isinstance(operation, Subscriber):
        operation.close()
    elif operation is not None:
        operation.cancel()


def _authorization(payload: dict[str, Any], scope: Scope) -> str | None:
    """The credentials in the first message, else those of the upgrade request."""
    for name in ("authorization", "Authorization"):
        if isinstance(payload.get(name), str):
            return str(payload[name])
    if isinstance(payload.get("token"), str):
        return f"Bearer {payload['token']}"
    return header(scope, b"authorization")
