"""From bytes to a GraphQL request: strict about everything a client may get wrong, a 4xx for each."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson

GRAPHQL_JSON = "application/graphql-response+json"
JSON = "application/json"
MULTIPART = "multipart/mixed"

LONGEST_PERSISTED = 32_768
MAX_PERSISTED = 1_000


class BadRequest(Exception):
    """What was sent is not a GraphQL request; the status and a code say in which way."""

    def __init__(self, message: str, status: int = 400, code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """What to execute."""

    text: str
    operation_name: str | None
    variables: Mapping[str, Any]


class PersistedDocuments:
    """Documents by the SHA-256 of their text: Apollo's automatic persisted queries, at most 1,000 of them.

    With `trusted` (document id to text) nothing else is executed.
    """

    def __init__(self, trusted: Mapping[str, str] | None = None) -> None:
        self._trusted = trusted
        self._known: OrderedDict[str, str] = OrderedDict()

    def text(self, sent: Mapping[str, Any]) -> str:
        """The document that a body names, or spells out."""
        query = sent.get("query")
        if query is not None and not isinstance(query, str):
            raise BadRequest("`query` is not a string.")
        if self._trusted is not None:
            return self._trusted_text(sent)
        digest = _digest(sent.get("extensions"))
        if digest is None:
            if query is None:
                raise BadRequest("`query` is missing.")
            return query
        if query is None:
            return self._found(digest)
        if hashlib.sha256(query.encode()).hexdigest() != digest:
            raise BadRequest("The persisted query's hash is not that of the query sent with it.")
        if len(query) <= LONGEST_PERSISTED:
            self._known[digest] = query
            if len(self._known) > MAX_PERSISTED:
                self._known.popitem(last=False)
        return query

    def _trusted_text(self, sent: Mapping[str, Any]) -> str:
        name = sent.get("documentId") or _digest(sent.get("extensions"))
        text = (self._trusted or {}).get(name) if isinstance(name, str) else None
        if text is None:
            raise BadRequest("Only trusted documents are executed here.", 403, "UNTRUSTED_DOCUMENT")
        return text

    def _found(self, digest: str) -> str:
        query = self._known.get(digest)
        if query is None:
            raise BadRequest("PersistedQueryNotFound", 404, "PERSISTED_QUERY_NOT_FOUND")
        self._known.move_to_end(digest)
        return query


def trusted_documents(path: Path) -> dict[str, str]:
    """A file of trusted documents: a JSON object from document id to text. Raises ValueError, OSError."""
    found = orjson.loads(path.read_bytes())
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("it is not a JSON object from document ids to their texts")
    return found


def _digest(extensions: Any) -> str | None:
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is None:
        return None
    digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(digest, str) or persisted.get("version") != 1:
        raise BadRequest("`extensions.persistedQuery` is not one: version 1 and sha256Hash are needed.")
    return digest


def from_body(body: bytes, documents: PersistedDocuments) -> GraphQLRequest:
    """A POST's body; raises `BadRequest`."""
    return _request(_decoded(body, "The body"), documents)


def from_query_string(query_string: bytes, documents: PersistedDocuments) -> GraphQLRequest:
    """A GET's parameters; raises `BadRequest`."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20
        )
    except (UnicodeDecodeError, ValueError):
        raise BadRequest("The query string is not valid UTF-8, or has too many parameters.") from None
    sent: dict[str, Any] = dict(pairs)
    for name in ("variables", "extensions"):
        if sent.get(name):
            sent[name] = _decoded(sent[name].encode(), f"`{name}`")
        else:
            sent.pop(name, None)
    if not sent.get("operationName"):
        sent.pop("operationName", None)
    return _request(sent, documents)


def from_message(payload: Any, documents: PersistedDocuments) -> GraphQLRequest:
    """What a message of a socket carries, decoded already; raises `BadRequest`."""
    return _request(payload, documents)


def _decoded(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest(f"{what} is not valid JSON.") from None


def _request(sent: Any, documents: PersistedDocuments) -> GraphQLRequest:
    if not isinstance(sent, dict):
        raise BadRequest("The body is not a JSON object; batches are not supported.")
    variables = sent.get("variables")
    if variables is not None and not isinstance(variables, dict):
        raise BadRequest("`variables` is not an object.")
    name = sent.get("operationName")
    if name is not None and not isinstance(name, str):
        raise BadRequest("`operationName` is not a string.")
    if not isinstance(sent.get("extensions"), dict | None):
        raise BadRequest("`extensions` is not an object.")
    return GraphQLRequest(documents.text(sent), name or None, variables or {})


@lru_cache(maxsize=256)
def is_json(content_type: str | None) -> bool:
    """Whether a body is declared as JSON in UTF-8, the only encoding JSON may be sent in."""
    if content_type is None:
        return False
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    return media_type == JSON and all(charset in ("utf-8", "utf8") for charset in charsets)


@lru_cache(maxsize=256)
def negotiated(accept: str | None, offered: tuple[str, ...]) -> str | None:
    """The offered media type that the client likes best, the earlier on a tie; None when it likes none.

    The GraphQL media type is for those who name it before or beside others, and, since 2025, for those who
    name none. Whoever takes anything (browsers, curl, older clients) may not know it, and gets plain JSON.
    """
    if accept is None or not accept.strip():
        return GRAPHQL_JSON
    accept = accept.lower()
    if "subscriptionspec=" in accept and MULTIPART in offered:
        return MULTIPART  # Apollo's clients name it beside JSON, and for subscriptions only
    best: str | None = None
    best_liking = (0.0, False)
    for media_type in offered:
        quality, named = _quality(accept, media_type)
        liking = (quality, named and media_type == GRAPHQL_JSON)
        if liking > best_liking:
            best, best_liking = media_type, liking
    return best


def _quality(accept: str, media_type: str) -> tuple[float, bool]:
    """The q of the most specific range that matches, and whether that names the media type."""
    kind = media_type.partition("/")[0]
    rank, quality = -1, 0.0
    for entry in accept.split(","):
        pattern, *parameters = (part.strip() for part in entry.split(";"))
        specific = {media_type: 2, f"{kind}/*": 1, "*/*": 0}.get(pattern, -1)
        if specific <= rank or specific < 0:
            continue
        rank, quality = specific, 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
    return quality, rank == 2
