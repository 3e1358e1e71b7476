"""What takes access away, kept fresh: revoked tokens, ended API keys, and when keys were last used.

Every process asks for one number a second; when it has changed, what was remembered of
callers is forgotten and connections that stay open are looked at again. So a revocation
holds everywhere within two seconds. While the database does not answer nothing is read
or written either; what was known stays in force.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

from app.auth import ENDLESS, Caller
from db.api_keys import ApiKey
from db.engine import Engine, NoConnection
from db.reads import Reads
from domain import api_keys
from domain.access import STAFF_SCOPES, Principal, PrincipalKind, Scope
from domain.revocations import RevokedKind

POLL_SECONDS = 1.0
FLUSH_SECONDS = 10.0
"""How often last uses are written: a statement for all keys, never one a request."""

LOOK_UPS = 4
"""Keys that are looked up at a time: credentials nobody knows must not take all connections."""

UNKNOWN_SECONDS = 2.0
"""How long a key that does not exist is refused without being looked up again."""
MAX_UNKNOWN = 10_000

FAILED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, NoConnection)

_VERSION = "select version from access_version"
_REVOKED = """
select kind, value, extract(epoch from created_at)::float8 as revoked_at
from revocation where ends_at is null or ends_at > now() - interval '5 minutes'
"""
_KEY = """
select name, scopes, channels, locations, digest, previous_digest, previous_ends_at, expires_at, now() as now
from api_key where id = $1 and revoked_at is null
"""
_USED = (
    sa.func.unnest(
        sa.bindparam("ids", type_=ARRAY(sa.Uuid())),
        sa.bindparam("times", type_=ARRAY(TIMESTAMP(timezone=True))),
    )
    .table_valued(sa.column("id", sa.Uuid()), sa.column("used_at", TIMESTAMP(timezone=True)))
    .render_derived(name="used")
)
_USE = (
    sa.update(ApiKey)
    .where(ApiKey.id == _USED.c.id)
    .values(last_used_at=sa.func.greatest(ApiKey.last_used_at, _USED.c.used_at))
)

log = structlog.get_logger("access")


class RevokedTokens:
    """The tokens that are refused although they have not expired."""

    def __init__(self) -> None:
        self._tokens: frozenset[str] = frozenset()
        self._subjects: dict[str, float] = {}

    def covers(self, caller: Caller) -> bool:
        if caller.token_id is not None and caller.token_id in self._tokens:
            return True
        revoked_at = self._subjects.get(caller.subject)
        # Issued in the same second counts as before: tokens carry whole seconds.
        return revoked_at is not None and caller.issued_at <= revoked_at

    def replace(self, rows: list[asyncpg.Record]) -> None:
        self._tokens = frozenset(row["value"] for row in rows if row["kind"] == RevokedKind.TOKEN)
        subjects: dict[str, float] = {}
        for row in rows:
            if row["kind"] == RevokedKind.SUBJECT:
                subjects[row["value"]] = max(row["revoked_at"], subjects.get(row["value"], 0.0))
        self._subjects = subjects


class StoredKeys:
    """API keys as the database has them now."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._turns = asyncio.Semaphore(LOOK_UPS)
        self._unknown: dict[UUID, float] = {}
        self._used: dict[UUID, datetime] = {}

    async def caller(self, key_id: UUID, digest: bytes) -> Caller | None:
        """Who has this key, or None when there is none, or it or this secret of it has ended."""
        if self._unknown.get(key_id, 0.0) > time.monotonic():
            return None
        async with self._turns, self._reads.connection() as connection:
            row = await connection.fetchrow(_KEY, key_id)
        if row is None:
            if len(self._unknown) >= MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[key_id] = time.monotonic() + UNKNOWN_SECONDS
            return None
        ends = self._end_of(row, digest)
        if ends is None or ends <= row["now"].timestamp():
            return None
        self._used[key_id] = row["now"]
        return Caller(_principal(key_id, row), ends, key_id=key_id, digest=digest)

    @staticmethod
    def _end_of(row: asyncpg.Record, digest: bytes) -> float | None:
        """When this secret ends, in seconds since 1970; None for one that is not this key's."""
        newest, previous = api_keys.same(digest, row["digest"]), api_keys.same(digest, row["previous_digest"])
        if not newest and not previous:
            return None
        ends = [row["expires_at"]] if newest else [row["expires_at"], row["previous_ends_at"]]
        return min((end.timestamp() for end in ends if end is not None), default=ENDLESS)

    def look_again(self) -> None:
        self._unknown.clear()

    async def flush(self, engine: Engine) -> None:
        """Write when keys were last used."""
        used, self._used = self._used, {}
        if not used:
            return
        keys = sorted(used)
        async with engine.begin() as session:
            await session.execute(_USE, {"ids": keys, "times": [used[key] for key in keys]})


def _principal(key_id: UUID, row: asyncpg.Record) -> Principal:
    known = {str(scope): scope for scope in Scope}
    return Principal(
        kind=PrincipalKind.PARTNER,
        account=api_keys.account_of(key_id),
        scopes=frozenset(known[name] for name in row["scopes"] if name in known) - STAFF_SCOPES,
        channels=None if row["channels"] is None else tuple(row["channels"]),
        locations=None if row["locations"] is None else tuple(row["locations"]),
        credential=f"key:{key_id}",
    )


class Access:
    """Keeps what was revoked fresh in this process; `changed` is awaited each time something was."""

    def __init__(self, reads: Reads, engine: Engine) -> None:
        self.revoked = RevokedTokens()
        self.keys = StoredKeys(reads)
        self.changed: Callable[[], Awaitable[None]] = _nothing
        self._reads = reads
        self._engine = engine
        self._version: int | None = None

    async def refresh(self) -> None:
        """Look once; raises what the database raises."""
        version = (await self._reads.fetch_row(_VERSION, ()))[0]
        if version == self._version:
            return
        rows = await self._reads.fetch(_REVOKED, ())
        self.revoked.replace(list(rows))  # type: ignore[arg-type] # asyncpg's records
        self.keys.look_again()
        first, self._version = self._version is None, version
        if not first:
            await self.changed()

    async def run(self) -> None:
        """Look every second until cancelled."""
        flushed = time.monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.refresh()
                if time.monotonic() - flushed >= FLUSH_SECONDS:
                    flushed = time.monotonic()
                    await self.keys.flush(self._engine)
            except FAILED as error:
                log.warning("access_not_refreshed", error=repr(error))

    async def close(self) -> None:
        """Write what is still to be written."""
        try:
            async with asyncio.timeout(2):
                await self.keys.flush(self._engine)
        except FAILED as error:
            log.warning("last_uses_lost", error=repr(error))


async def _nothing() -> None:
    return None
