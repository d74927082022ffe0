"""Verdicts counted by side, and the candidate's against those of live and baseline, always over the same events. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from headrace.replay.evaluators.checks import Judged, Verdict
from headrace.replay.evaluators.definitions import Evaluator
from headrace.replay.shadow.statistics import Interval, mcnemar, paired_shares, share

WORST: Final = 10  # runs of one evaluator
_ORDER: Final[tuple[Verdict, ...]] = ("pass", "fail", "not_applicable", "unparsable", "not_judged")
_SIDES: Final = ("candidate", "live", "baseline")


class Example(NamedTuple):
    """A run of the candidate that failed, with the runs that it is compared with."""

    event_uid: str
    live_run: str | None
    shadow_run: str
    live: Verdict
    why: str


class Tally:
    """Of one evaluator over all pairs."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self._counts: dict[str, Counter[Verdict]] = {side: Counter() for side in _SIDES}
        self._changes: dict[str, Counter[tuple[Verdict, Verdict]]] = {"live": Counter(), "baseline": Counter()}
        self._worst: list[Example] = []

    def add(self, verdicts: Mapping[str, Judged], uid: str, *, live_run: str | None, shadow_run: str) -> None:
        """The verdicts of one event by side; ``candidate`` is always there."""
        mine = verdicts["candidate"]
        for side, judged in verdicts.items():
            self._counts[side][judged.verdict] += 1
            if side != "candidate":
                self._changes[side][judged.verdict, mine.verdict] += 1
        if mine.verdict == "fail":
            live = verdicts["live"].verdict if "live" in verdicts else "not_applicable"
            self._worst.append(Example(uid, live_run, shadow_run, live, mine.why))
            if len(self._worst) > 4 * WORST:
                self._worst = self._first()

    def facts(self) -> dict[str, Any]:
        """As JSON: what the report says of this evaluator."""
        one = self.evaluator
        return {
            "name": one.name,
            "kind": one.kind,
            "description": one.description,
            **{side: self._side(side) for side in _SIDES},
            "against_live": self._against("live"),
            "against_baseline": self._against("baseline"),
            "worst": [example._asdict() for example in self._first()],
            "gate": self._gate(),
        }

    def _first(self) -> list[Example]:
        """Those that live passed come first."""
        return sorted(self._worst, key=lambda one: (one.live != "pass", one.event_uid))[:WORST]

    def _side(self, side: str) -> dict[str, Any]:
        counts = self._counts[side]
        return {name: counts[name] for name in _ORDER} | {
            "share": _facts(share(counts["pass"], counts["pass"] + counts["fail"]))
        }

    def _against(self, side: str) -> dict[str, Any] | None:
        """Over the events of which both sides have passed or failed; None if there are none."""
        changes = self._changes[side]
        gained, lost = changes["fail", "pass"], changes["pass", "fail"]
        n = gained + lost + changes["pass", "pass"] + changes["fail", "fail"]
        if n == 0:
            return None
        return {
            "n": n,
            "gained": gained,
            "lost": lost,
            "difference": _facts(paired_shares(n, gained, lost)),
            "p": mcnemar(gained, lost),
        }

    def _gate(self) -> dict[str, Any] | None:
        """What can't be told (``unparsable``, ``not_judged``) has not passed; nothing at all has not passed either."""
        if (least := self.evaluator.at_least) is None:
            return None
        counts = self._counts["candidate"]
        n = counts.total() - counts["not_applicable"]
        return {"at_least": least, "n": n, "passed": n > 0 and counts["pass"] / n >= least}


def _facts(interval: Interval | None) -> dict[str, Any] | None:
    return interval._asdict() if interval else None
