"""How often a key may ask: a token bucket for each, in this process."""

import math
from dataclasses import dataclass

_KEYS_MAX = 10000  # so many buckets are kept; a full one is as good as none


@dataclass(frozen=True)
class Rate:
    """`burst` requests at once, and `per_s` of them in a second for as long as one likes."""

    burst: int = 120
    per_s: float = 20.0


@dataclass(frozen=True)
class Grant:
    """Whether a request may go on; how many more may at once; in how many seconds the next may, and
    in how many the bucket is full again."""

    allowed: bool
    left: int
    wait_s: int
    full_s: int


class Buckets:
    """take() for each request. Several processes each have their own."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._levels: dict[str, tuple[float, float]] = {}  # what is in it, and when: Unix seconds

    def take(self, key: str, now_s: float) -> Grant:
        """One request of `key`. A clock that goes back gives nothing and takes nothing."""
        rate = self.rate
        level, at_s = self._levels.pop(key, (float(rate.burst), now_s))
        level = min(rate.burst, level + max(0.0, now_s - at_s) * rate.per_s)
        allowed = level >= 1
        level -= allowed
        self._levels[key] = level, now_s  # the newest stands last
        if len(self._levels) > _KEYS_MAX:
            del self._levels[next(iter(self._levels))]
        wait_s = 0 if level >= 1 else math.ceil((1 - level) / rate.per_s)
        return Grant(allowed, int(level), wait_s, math.ceil((rate.burst - level) / rate.per_s))


def headers(rate: Rate, grant: Grant) -> dict[str, str]:
    """RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10), Retry-After where it is over."""
    window_s = math.ceil(rate.burst / rate.per_s)
    said = {"RateLimit-Policy": f'"key";q={rate.burst};w={window_s}',
            "RateLimit": f'"key";r={grant.left};t={grant.full_s}'}  # fmt: skip
    return said if grant.allowed else said | {"Retry-After": str(max(1, grant.wait_s))}
