"""How much each caller may ask for: a token bucket of cost points for every account.

An operation is charged what it was measured at before it runs; what has no points left is
refused with THROTTLED, 429 and `Retry-After`. Buckets live in this process; with Redis,
processes draw on a common one in portions, so that most requests ask nobody. While Redis
does not answer each process counts for itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from graphql import GraphQLError

from domain.access import Principal
from schema.plan.operation import RequestError

SUBSCRIPTION_POINTS = 100
"""What following costs once; its events cost nothing."""

REFUSED_POINTS = 50
"""What a document costs that is not valid: somebody has to read it first."""

MAX_ACCOUNTS = 20_000
"""Buckets that are kept; those that are full again are forgotten first."""

PORTION = 20
"""A process draws a twentieth of a bucket at a time."""

REDIS_SECONDS = 0.25
PAUSE_SECONDS = 5.0
"""How long Redis is left alone after it failed."""

DRAW = """
local now = redis.call('TIME')
local seconds = now[1] + now[2] / 1000000
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'points', 'at')
local points = math.min(capacity, (tonumber(kept[1]) or capacity) + (seconds - (tonumber(kept[2]) or seconds)) * rate)
local drawn = 0
if points >= tonumber(ARGV[3]) then drawn = math.min(points, tonumber(ARGV[4])) end
redis.call('HSET', KEYS[1], 'points', tostring(points - drawn), 'at', tostring(seconds))
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / rate * 1000) + 1000)
return {tostring(drawn), tostring(points - drawn)}
"""

log = structlog.get_logger("throttle")


class Throttled(RequestError):
    """The caller has not enough points left; `retry_after` is in whole seconds."""

    def __init__(self, points: int, status: Mapping[str, int], seconds: float) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(
            GraphQLError(
                f"You have asked for too much lately: this costs {points}, you have "
                f"{status['currentlyAvailable']}. Try again in {self.retry_after} s.",
                extensions={
                    "code": "THROTTLED",
                    "retryAfterSeconds": self.retry_after,
                    "cost": {"requested": points, "throttleStatus": dict(status)},
                },
            )
        )


@dataclass(slots=True)
class _Bucket:
    points: float
    at: float
    common: float = 0.0
    """What was left in the common bucket when this process last drew on it."""


class Common(Protocol):
    """A bucket that processes share."""

    async def draw(self, account: str, least: float, most: float) -> tuple[float, float] | None:
        """Points drawn (0 when there are fewer than `least`) and points left; None when nobody answers."""
        ...

    async def close(self) -> None: ...


class Throttle:
    """Buckets of `capacity` points that refill with `rate` points a second."""

    def __init__(self, capacity: int, rate: int, common: Common | None = None) -> None:
        self._capacity = capacity
        self._rate = rate
        self._common = common
        self._buckets: dict[str, _Bucket] = {}

    async def charge(self, principal: Principal, points: int) -> str:
        """The caller's `throttleStatus` as JSON; raises `Throttled`, and charges nothing, if it has too little."""
        bucket = self._bucket(principal.account)
        points = min(points, self._capacity)  # else what costs more than a bucket holds never ran
        if bucket.points < points and self._common is not None:
            await self._draw(principal.account, bucket, points)
        return self._take(bucket, points)

    def charge_refused(self, principal: Principal) -> None:
        """For a document that cannot be run: it was read all the same. What follows waits for it."""
        self._bucket(principal.account).points -= REFUSED_POINTS

    def charge_now(self, principal: Principal, points: int) -> None:
        """The same with what this process has at hand."""
        if self._common is None:
            self._take(self._bucket(principal.account), points)
        else:
            self._bucket(principal.account).points -= points

    async def close(self) -> None:
        if self._common is not None:
            await self._common.close()

    def _take(self, bucket: _Bucket, points: int) -> str:
        if bucket.points < points:
            seconds = (points - bucket.points - bucket.common) / self._rate
            raise Throttled(points, self._status(bucket), seconds)
        bucket.points -= points
        status = self._status(bucket)
        return (
            f'{{"maximumAvailable":{self._capacity},"currentlyAvailable":{status["currentlyAvailable"]},'
            f'"restoreRate":{self._rate}}}'
        )

    def _status(self, bucket: _Bucket) -> dict[str, int]:
        available = min(self._capacity, max(0, int(bucket.points + bucket.common)))
        return {
            "maximumAvailable": self._capacity,
            "currentlyAvailable": available,
            "restoreRate": self._rate,
        }

    def _bucket(self, account: str) -> _Bucket:
        now = time.monotonic()
        bucket = self._buckets.get(account)
        if bucket is None:
            if len(self._buckets) >= MAX_ACCOUNTS:
                self._forget(now)
            begin = float(self._capacity) if self._common is None else 0.0
            bucket = self._buckets[account] = _Bucket(begin, now)
        elif self._common is None:
            bucket.points = min(self._capacity, bucket.points + (now - bucket.at) * self._rate)
            bucket.at = now
        return bucket

    def _forget(self, now: float) -> None:
        """Full buckets are like none; where that leaves too many, the longest unused go."""
        refill = self._capacity / self._rate
        kept = {name: bucket for name, bucket in self._buckets.items() if now - bucket.at < refill}
        if len(kept) >= MAX_ACCOUNTS:
            newest = sorted(kept.items(), key=lambda item: item[1].at)[MAX_ACCOUNTS // 2 :]
            kept = dict(newest)
        self._buckets = kept

    async def _draw(self, account: str, bucket: _Bucket, points: int) -> None:
        assert self._common is not None  # noqa: S101 - asked by the caller
        least = points - bucket.points
        most = max(least, self._capacity / PORTION)
        drawn = await self._common.draw(account, least, most)
        now = time.monotonic()
        if drawn is None:  # counted here alone until it answers again
            bucket.points = min(self._capacity, bucket.points + (now - bucket.at) * self._rate)
        else:
            bucket.points += drawn[0]
            bucket.common = drawn[1]
        bucket.at = now


class RedisBuckets:
    """Common buckets in Redis: one small script a portion."""

    def __init__(self, url: str, capacity: int, rate: int) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra that others do not have

        self._redis: Any = Redis.from_url(
            url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        )
        self._script = self._redis.register_script(DRAW)
        self._capacity = capacity
        self._rate = rate
        self._paused_until = 0.0

    async def draw(self, account: str, least: float, most: float) -> tuple[float, float] | None:
        from redis.exceptions import RedisError  # noqa: PLC0415 - as above

        if time.monotonic() < self._paused_until:
            return None
        try:
            drawn, left = await self._script(
                keys=[f"oms:throttle:{account}"], args=[self._capacity, self._rate, least, most]
            )
        except (RedisError, OSError, TimeoutError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("throttle_not_shared", error=repr(error))
            return None
        return float(drawn), float(left)

    async def close(self) -> None:
        await self._redis.aclose()


class ChargedSubscriptions:
    """A planner of subscriptions that charges for each."""

    def __init__(self, planner: Any, throttle: Throttle | None) -> None:
        self._planner = planner
        self._throttle = throttle

    def operation(self, text: str, name: str | None) -> Any:
        return self._planner.operation(text, name)

    def plan_subscription(
        self, text: str, name: str | None, variables: Mapping[str, Any], principal: Principal
    ) -> Any:
        if self._throttle is not None:
            self._throttle.charge_now(principal, SUBSCRIPTION_POINTS)
        return self._planner.plan_subscription(text, name, variables, principal)
