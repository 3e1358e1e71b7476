"""GraphQL over `multipart/mixed`, as Apollo's clients follow subscriptions over plain HTTP.

https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
A client reads a part when it has seen the boundary after it: each part is written with
the boundary that follows it, and the first boundary goes ahead.
"""

from __future__ import annotations

from app.graphql.requests import MULTIPART
from db.cursors import Cursor

MEDIA_TYPE = MULTIPART


class MultipartMixed:
    """A `Format`: a part for each result in the member `payload`, empty objects as heartbeats."""

    content_type = b'multipart/mixed; boundary="graphql"; subscriptionSpec="1.0"'
    begin = b"\r\n--graphql"
    end = b"--\r\n"

    def __init__(self) -> None:
        self.heartbeat = self._part(b"{}")

    def event(self, cursor: Cursor, payload: bytes) -> bytes:
        return self.result(payload)

    def result(self, payload: bytes) -> bytes:
        return self._part(b'{"payload":' + payload + b"}")

    def error(self, errors: bytes) -> bytes:
        return self._part(b'{"payload":null,"errors":' + errors + b"}")

    def _part(self, body: bytes) -> bytes:
        return b"\r\ncontent-type: application/json\r\n\r\n" + body + b"\r\n--graphql"
