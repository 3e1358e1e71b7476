"""GraphQL over server-sent events, each operation a request of its own ("distinct connections mode").

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
Every event of a log carries its cursor as the stream's event id, so that a browser's
EventSource, which sends the last one when it reconnects, goes on without a gap.
"""

from __future__ import annotations

from db.cursors import Cursor

MEDIA_TYPE = "text/event-stream"


class ServerSentEvents:
    """A `Format`: events `next`, and `complete` at the end."""

    content_type = b"text/event-stream; charset=utf-8"
    begin = b""
    heartbeat = b":\n\n"
    end = b"event: complete\ndata:\n\n"

    def event(self, cursor: Cursor, payload: bytes) -> bytes:
        return b"id: %b\nevent: next\ndata: %b\n\n" % (str(cursor).encode(), payload)

    def result(self, payload: bytes) -> bytes:
        return b"event: next\ndata: " + payload + b"\n\n"

    def error(self, errors: bytes) -> bytes:
        return self.result(b'{"errors":' + errors + b"}")
