"""`/graphql` over HTTP: an ASGI endpoint by the GraphQL-over-HTTP specification.

A request that was seen before goes from its body to the database without being
parsed, validated or wrapped in objects of a framework.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from app.auth import Unauthenticated
from app.graphql.answers import Result, masked, refusal, refused
from app.graphql.deadlines import Deadlines
from app.graphql.execution import Executor
from app.graphql.requests import (
    GRAPHQL_JSON,
    JSON,
    BadRequest,
    GraphQLRequest,
    PersistedDocuments,
    from_body,
    from_query_string,
    is_json,
    negotiated,
)
from domain.access import Principal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Authenticate = Callable[[str | None], Principal | Awaitable[Principal]]
"""From the Authorization header to the caller; raises `Unauthenticated`. Awaited for keys not used lately."""

Stream = Callable[[Scope, Receive, Send, GraphQLRequest, Principal], Awaitable[None]]
"""Answers over a media type that streams, for subscriptions."""

BODY_TIMEOUT_SECONDS = 10.0

CONSISTENCY = b"x-oms-consistency"
"""Where reads may go to a replica, a mutation's answer carries it; a query that sends it sees that write."""

POSITION = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", re.ASCII)


class _Gone(Exception):
    """The client went away in the middle of its body."""


class GraphQLEndpoint:
    """Serves GET and POST. `streams` answers for further media types, by their names."""

    def __init__(
        self,
        executor: Executor,
        authenticate: Authenticate,
        *,
        body_limit_bytes: int = 1_048_576,
        documents: PersistedDocuments | None = None,
        streams: Mapping[str, Stream] | None = None,
    ) -> None:
        self._executor = executor
        self._authenticate = authenticate
        self._limit = body_limit_bytes
        self._bodies = Deadlines(BODY_TIMEOUT_SECONDS)
        self._documents = documents or PersistedDocuments()
        self._streams = dict(streams or {})
        self._offered = (JSON, GRAPHQL_JSON, *self._streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        media_type = negotiated(_text(headers.get(b"accept")), self._offered)
        if media_type is None:
            offered = ", ".join(self._offered)
            await _send(send, refusal(f"Accept one of: {offered}.", "NOT_ACCEPTABLE", 406), JSON)
            return
        try:
            # First: nobody without a token makes us read a body or keep a document.
            principal = self._authenticate(_text(headers.get(b"authorization")))
            if not isinstance(principal, Principal):
                principal = await principal
            request = await self._request(scope, receive, headers)
        except _Gone:
            return
        except BadRequest as bad:
            extra = [(b"allow", b"GET, POST")] if bad.status == 405 else []
            answer = refusal(str(bad), bad.code, bad.status)
            if bad.code == "PERSISTED_QUERY_NOT_FOUND":
                answer = replace(answer, well_formed=True)  # clients expect 200 and send the text again
            await _send(send, answer, media_type, extra)
            return
        except Unauthenticated as error:
            answer = refusal(str(error), "UNAUTHENTICATED", 401)
            await _send(send, answer, media_type, [(b"www-authenticate", b"Bearer")])
            return
        stream = self._streams.get(media_type)
        if stream is not None:
            await stream(scope, receive, send, request, principal)
            return
        result = await self._execute(scope, headers, request, principal)
        extra = [] if result.consistency is None else [(CONSISTENCY, result.consistency.encode())]
        if result.retry_after is not None:
            extra.append((b"retry-after", str(result.retry_after).encode()))
        await _send(send, result, media_type, extra)

    async def _execute(
        self, scope: Scope, headers: Mapping[bytes, bytes], request: GraphQLRequest, principal: Principal
    ) -> Result:
        consistency = _text(headers.get(CONSISTENCY))
        if consistency is not None and not POSITION.fullmatch(consistency):
            message = f"{CONSISTENCY.decode()} is not what a mutation's answer carried under that name."
            return refusal(message, "BAD_REQUEST", 400)
        try:
            return await self._executor.execute(
                request.text,
                request.operation_name,
                request.variables,
                principal,
                mutations=scope["method"] == "POST",
                consistency=consistency,
            )
        except Exception as error:  # the boundary: a bug is masked, never shown
            return refused([masked(error, None, "execute")], 500)

    async def _request(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]
    ) -> GraphQLRequest:
        method = scope["method"]
        if method == "POST":
            if not is_json(_text(headers.get(b"content-type"))):
                raise BadRequest("Send application/json in UTF-8.", 415, "UNSUPPORTED_MEDIA_TYPE")
            return from_body(await self._body(receive, headers.get(b"content-length")), self._documents)
        if method == "GET":
            return from_query_string(scope["query_string"], self._documents)
        raise BadRequest("Use POST, or GET for queries.", 405, "METHOD_NOT_ALLOWED")

    async def _body(self, receive: Receive, length: bytes | None) -> bytes:
        if length is not None and length.isdigit() and int(length[:20]) > self._limit:
            raise self._too_large()
        try:
            with self._bodies.deadline():
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body", False):
                    body: bytes = message.get("body", b"")
                else:
                    body = await self._rest(receive, message)
        except TimeoutError:
            raise BadRequest("The body took too long to arrive.", 408, "BODY_TIMEOUT") from None
        if len(body) > self._limit:
            raise self._too_large()
        return body

    async def _rest(self, receive: Receive, message: Message) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] != "http.request":
                raise _Gone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._limit:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()

    def _too_large(self) -> BadRequest:
        return BadRequest(f"A body holds at most {self._limit} bytes.", 413, "TOO_LARGE")


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


_CONTENT_TYPES = {
    GRAPHQL_JSON: f"{GRAPHQL_JSON}; charset=utf-8".encode(),
    JSON: f"{JSON}; charset=utf-8".encode(),
}


async def _send(
    send: Send, result: Result, media_type: str, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    status = result.status
    if media_type == JSON and status in (400, 403, 404) and result.well_formed:
        # Under application/json a well-formed request is answered with 200, whatever came of it.
        status = 200
    headers = [
        (b"content-type", _CONTENT_TYPES.get(media_type, _CONTENT_TYPES[GRAPHQL_JSON])),
        (b"content-length", str(len(result.body)).encode()),
        (b"cache-control", b"no-store"),
        *extra,
    ]
    if status == 405 and not extra:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": result.body})
