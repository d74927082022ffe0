"""Who is compared, in which mode, and with how much work: one row a variant.

Counts are such that the clock runs for five to fifteen seconds: a fast system gets more. How each was made fair is in its folder's
README.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

YARDSTICK = "raw-group"


@dataclass(frozen=True)
class Setting:
    """What a run is like. Latencies of the calls in seconds; ``per_second`` 0: all at once."""

    name: str
    title: str
    model_s: float = 0.0
    tool_s: float = 0.0
    in_flight: int = 0  # 0: the variant's own for calls that take no time
    per_second: float = 0.0

    @property
    def calls_ms(self) -> float:
        """What the calls themselves take of an invocation."""
        return (2 * self.model_s + self.tool_s) * 1000


SETTINGS = {
    one.name: one
    for one in (
        Setting("A", "calls take no time, as fast as it goes"),
        Setting("B1000", "500 ms model, 200 ms tool, 1,000 in flight", 0.5, 0.2, 1_000),
        Setting("B5000", "500 ms model, 200 ms tool, 5,000 in flight", 0.5, 0.2, 5_000),
        Setting("latency", "calls take no time, 20 a second", per_second=20.0),
    )
}
LATENCY_COUNT = 220


@dataclass(frozen=True)
class Variant:
    """One system in one mode."""

    name: str
    title: str
    folder: str
    mode: str
    promise: str
    servers: tuple[str, ...]
    counts: Mapping[str, int]  # setting -> invocations; a setting that is missing is not run
    client: Literal["plain", "mesh", "own"] = "own"
    exactly_once: bool = False  # read its topic of results read_committed
    packages: tuple[str, ...] = ()  # whose versions are shown, from its lock
    standing: bool = True
    in_flight: int = 200  # for calls that take no time
    warm: int = 200
    kill_per_second: float = 20.0  # 0: no kills

    def count(self, setting: str) -> int:
        return LATENCY_COUNT if setting == "latency" else self.counts[setting]

    def takes(self, setting: str) -> bool:
        return setting == "latency" or setting in self.counts


KAFKA = ("kafka",)
_AT_LEAST, _AT_MOST, _EXACTLY = "at least once", "at most once", "exactly once"
_STEPS = "durable steps"


def _counts(a: int, b1000: int = 0, b5000: int = 0) -> dict[str, int]:
    return {name: count for name, count in (("A", a), ("B1000", b1000), ("B5000", b5000)) if count}


_FAST = _counts(80_000, 8_000, 40_000)

VARIANTS = {
    one.name: one
    for one in (
        Variant(
            "raw-group", "raw librdkafka loop, exactly-once, group commits", "raw", "group", _EXACTLY, KAFKA, _FAST,
            client="plain", exactly_once=True,
        ),
        Variant(
            "headrace", "headrace", "headrace", "worker", _EXACTLY, ("kafka", "registry", "postgres"),
            _counts(40_000, 8_000, 40_000), client="mesh", exactly_once=True, in_flight=1_000, warm=1_000,
        ),
        Variant(
            "raw-batch", "raw librdkafka loop, exactly-once, a commit a batch", "raw", "batch", _EXACTLY, KAFKA, _FAST,
            client="plain", exactly_once=True,
        ),
        Variant(
            "raw-idempotent", "raw librdkafka loop, idempotent", "raw", "idempotent", _AT_LEAST, KAFKA, _FAST,
            client="plain",
        ),
        Variant(
            "quixstreams", "quixstreams, exactly-once", "quixstreams", "exactly-once", _EXACTLY, KAFKA,
            _counts(30_000, 8), client="plain", exactly_once=True, packages=("quixstreams",), kill_per_second=2.0,
        ),
        Variant(
            "redis-blmove", "Redis BLMOVE worker", "redis", "blmove", "at least once, own recovery", ("redis",),
            _counts(15_000, 8_000, 25_000), packages=("redis",),
        ),
        Variant(
            "faststream-first", "FastStream (aiokafka), acknowledged first", "faststream", "aiokafka-first",
            "at most or at least once, by luck", KAFKA, _counts(5_000, 5_000, 12_000), client="plain",
            packages=("faststream", "aiokafka"),
        ),
        Variant(
            "faststream-after", "FastStream (aiokafka), acknowledged after", "faststream", "aiokafka-after", _AT_LEAST,
            KAFKA, _counts(5_000, 60), client="plain", packages=("faststream", "aiokafka"),
        ),
        Variant(
            "eggai-first", "EggAI, acknowledged first", "eggai", "first", "at most or at least once, by luck", KAFKA,
            _counts(5_000, 4_000, 10_000), client="plain", packages=("eggai", "faststream"),
        ),
        Variant(
            "restate", "Restate", "restate", "service", _STEPS, ("restate",), _counts(4_000, 3_000, 6_000),
            packages=("restate-sdk",),
        ),
        Variant(
            "faust", "faust-streaming", "faust", "worker", _AT_LEAST, KAFKA, _counts(3_000, 4_000, 8_000),
            client="plain", packages=("faust-streaming", "aiokafka"),
        ),
        Variant(
            "celery-prefork", "Celery on Redis, prefork", "celery", "prefork", "at least once, after an hour",
            ("redis",), _counts(1_500), packages=("celery", "redis"), warm=50, kill_per_second=0.0,
        ),
        Variant(
            "celery-threads", "Celery on Redis, threads", "celery", "threads", "at least once, after an hour",
            ("redis",), _counts(1_200, 1_500, 3_000), packages=("celery", "redis"), warm=50,
        ),
        Variant(
            "dbos", "DBOS on Postgres, queue", "dbos", "queue", _STEPS, ("postgres",), _counts(800, 900, 1_500),
            packages=("dbos",), warm=50,
        ),
        Variant(
            "calfkit", "Calfkit", "calfkit", "idempotent", _AT_MOST, KAFKA, _counts(700, 700, 1_000),
            packages=("calfkit", "faststream"), warm=20,
        ),
        Variant(
            "faststream-confluent", "FastStream (confluent-kafka), acknowledged first", "faststream", "confluent-first",
            "at most or at least once, by luck", KAFKA, _counts(4_000, 4_000, 8_000), client="plain",
            packages=("faststream", "confluent-kafka"), standing=False,
        ),
        Variant(
            "eggai-after", "EggAI, acknowledged after", "eggai", "after", _AT_LEAST, KAFKA, _counts(4_000, 60),
            client="plain", packages=("eggai", "faststream"), standing=False,
        ),
        Variant(
            "redis-blpop", "Redis BLPOP worker", "redis", "blpop", "loses what is in flight", ("redis",),
            _counts(15_000, 8_000, 25_000), packages=("redis",), standing=False,
        ),
        Variant(
            "dbos-direct", "DBOS on Postgres, started in the process", "dbos", "direct", _STEPS, ("postgres",),
            _counts(800, 900, 1_500), packages=("dbos",), standing=False, warm=50, kill_per_second=0.0,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What a user asked for."""

    only: frozenset[str] = frozenset()
    skip: frozenset[str] = field(default_factory=frozenset)

    def variants(self, *, yardstick: bool) -> list[Variant]:
        """``yardstick``: it is among them in any case, since every ratio needs it.

        Raises ``ValueError`` for a name that nothing has.
        """
        known = set(VARIANTS) | {one.folder for one in VARIANTS.values()}
        if unknown := (self.only | self.skip) - known:
            raise ValueError(f"no such peer: {', '.join(sorted(unknown))}; --list shows them")
        return [one for one in VARIANTS.values() if (yardstick and one.name == YARDSTICK) or self._wants(one)]

    def _wants(self, one: Variant) -> bool:
        names = {one.name, one.folder}
        asked = one.name in self.only or (one.folder in self.only and one.standing) if self.only else one.standing
        return asked and not names & self.skip
