"""The verdict: pure, from what was noted and what was read.

Each violation names the invariant of docs/design.md that it breaks. What nobody can see from outside (a commit for a tenancy that
had ended, a transaction begun before its work was done) is seen in the worker's own notes; what a user would see (lost, doubled,
out of order, torn) in the records alone, whatever the notes say.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from headrace.runtime import offsetmap
from tests.faults.journal import Note
from tests.faults.observer import Commit, Read

_SHOWN = 3  # examples of a violation


@dataclass(frozen=True)
class Evidence:
    """``inputs`` is ``agent.jobs`` as it stands at the end, ``outputs`` the other topics; ``seen`` was read while it happened.

    ``done`` says when a job's output (or dead letter) was first seen. ``bound`` is a worker's ``max_in_flight``. ``healed_at`` and
    ``finished_at`` are when the faults and the load ended, and when everything was there. ``by_hand``: the cell moved committed
    offsets itself. ``refusals`` are the errors that workers had to stop with. Jobs that nothing is wrong with may take
    ``others_wait_s``.
    """

    inputs: Sequence[Read]
    outputs: Sequence[Read]
    seen: Sequence[Read]
    done: dict[str, float]
    commits: Sequence[Commit]
    load: Sequence[Note]
    notes: Sequence[Note]
    bound: int
    healed_at: float
    finished_at: float
    limit_s: float
    others_wait_s: float | None = None
    by_hand: bool = False
    refusals: Sequence[str] = ()


@dataclass
class Figures:
    sent: int = 0
    acknowledged: int = 0
    results: int = 0
    dead_letters: int = 0
    lost: int = 0
    doubled: int = 0
    order_breaks: int = 0
    torn: int = 0
    transactions: int = 0
    unsure: int = 0
    effects_again: int = 0
    in_flight_again: int = 0
    catch_up_s: float = 0.0
    silence_s: float = 0.0
    p99_s: float = 0.0


@dataclass
class Verdict:
    figures: Figures = field(default_factory=Figures)
    violations: list[str] = field(default_factory=list)

    def broken(self, invariant: str, found: Iterable[object], what: str) -> int:
        """Note all of ``found`` as one violation; how many they are."""
        cases = list(found)
        if cases:
            examples = ", ".join(map(str, cases[:_SHOWN]))
            self.violations.append(f"invariant {invariant}: {len(cases)} {what}: {examples}")
        return len(cases)

    @property
    def holds(self) -> bool:
        return not self.violations


def check(evidence: Evidence) -> Verdict:
    verdict = Verdict()
    for one in (_accounted, _atomic, _ordered, _committed, _not_again, _tenancies, _producers, _bounded, _progress):
        one(evidence, verdict)
    return verdict


# --- what a user sees ----------------------------------------------------------------------------------------------------


def _accounted(evidence: Evidence, verdict: Verdict) -> None:
    """1, 2: every acknowledged job has one result or one dead letter."""
    answers = {kind: {n["job"] for n in evidence.load if n["event"] == kind} for kind in ("invoke", "ok", "fail")}
    inputs = [read.job for read in evidence.inputs]
    results = Counter(read.job for read in evidence.outputs if read.topic == "relayed")
    letters = Counter(read.job for read in evidence.outputs if read.topic == "relay.dlq")
    figures = verdict.figures
    figures.sent, figures.acknowledged = len(answers["invoke"]), len(answers["ok"])
    figures.results, figures.dead_letters = results.total(), letters.total()
    verdict.broken("1", answers["ok"] - set(inputs), "acknowledged jobs are not in their own topic")
    verdict.broken("1", answers["fail"] & set(inputs), "refused jobs are in the topic")
    ended = results + letters
    figures.lost = verdict.broken("1", (job for job in inputs if job not in ended), "jobs lost")
    figures.doubled = verdict.broken("1/2", (job for job, n in ended.items() if n > 1), "jobs doubled")
    verdict.broken("1", set(ended) - set(inputs), "results of jobs that are not there")


def _atomic(evidence: Evidence, verdict: Verdict) -> None:
    """2: a transaction's records are all there or none, and a reader never saw one that is not."""
    outcome = {note["tx"]: note["event"] for note in evidence.notes if note["event"] in ("committed", "aborted")}
    sent = Counter(note["tx"] for note in evidence.notes if note["event"] == "send")
    visible = Counter(read.tx for read in evidence.outputs)
    torn = []
    for tx, count in sent.items():
        allowed = {"committed": {count}, "aborted": {0}}.get(outcome.get(tx, ""), {0, count})
        if visible[tx] not in allowed:
            torn.append(f"{tx} ({outcome.get(tx, 'unknown')}): {visible[tx]} of {count} records")
    by_job: dict[str, list[str]] = defaultdict(list)
    for read in evidence.outputs:
        if read.topic != "relay.dlq":
            by_job[read.job].append(read.tx)
    torn += [f"{job} in {len(set(txs))} transactions" for job, txs in by_job.items() if len(set(txs)) > 1]
    torn += [f"{job} has one output of two" for job, txs in by_job.items() if len(txs) == 1]
    verdict.figures.torn = verdict.broken("2", torn, "transactions torn")
    verdict.figures.transactions = len(sent)
    there = {read.where for read in evidence.outputs}
    verdict.broken("2", (r.job for r in evidence.seen if r.where not in there), "records seen that are not there")


def _ordered(evidence: Evidence, verdict: Verdict) -> None:
    """3: results of a key in the order of its jobs, and never two of a key at work in one process."""
    place = {read.job: (read.partition, read.offset) for read in evidence.inputs}
    breaks, latest = [], dict[str, tuple[int, int]]()
    for read in evidence.outputs:
        if read.topic != "relayed" or read.job not in place:
            continue
        if latest.get(read.key, (-1, -1)) >= place[read.job]:
            breaks.append(f"{read.job} of {read.key}")
        latest[read.key] = place[read.job]
    working: dict[tuple[int, str], str] = {}
    for note in evidence.notes:
        if note["event"] == "start":
            if working.get((note["pid"], note["key"]), note["job"]) != note["job"]:
                breaks.append(f"{note['job']} beside another of {note['key']}")
            working[note["pid"], note["key"]] = note["job"]
        elif note["event"] == "end" and working.get((note["pid"], note["key"])) == note["job"]:
            del working[note["pid"], note["key"]]
    verdict.figures.order_breaks = verdict.broken("3", breaks, "order breaks")


# --- what only the worker's notes show -----------------------------------------------------------------------------------


def _committed(evidence: Evidence, verdict: Verdict) -> None:
    """4, 9: an offset passes only what was finished before its transaction began, whose work is over by then; never back."""
    began = {note["tx"]: note["at"] for note in evidence.notes if note["event"] == "begin"}
    ended: dict[str, list[float]] = defaultdict(list)
    for note in evidence.notes:
        if note["event"] == "end" and note["how"] != "cancelled":
            ended[note["job"]].append(note["at"])
    passed = []
    by_partition: dict[int, list[Read]] = defaultdict(list)
    for read in evidence.inputs:
        by_partition[read.partition].append(read)
    checked: dict[int, int] = defaultdict(int)
    for tx, partition, offset, _ in _offsets_committed(evidence):
        records = by_partition[partition]
        for read in records[checked[partition] :]:
            if read.offset >= offset:
                break
            checked[partition] += 1
            if not any(at <= began[tx] for at in ended[read.job]):
                passed.append(f"{read.job} by {tx}")
    verdict.broken("4", passed, "unfinished records passed by a commit")
    early = (
        f"{note['job']} in {note['tx']}"
        for note in evidence.notes
        if note["event"] == "send" and not any(at <= began[note["tx"]] for at in ended[note["job"]])
    )
    verdict.broken("9", early, "transactions open before their work was over")
    reached: dict[int, int] = {}
    back = []
    for commit in evidence.commits:
        if commit.offset < reached.get(commit.partition, 0) and not evidence.by_hand:
            back.append(f"{commit.partition}: {reached[commit.partition]} -> {commit.offset}")
        reached[commit.partition] = commit.offset
    verdict.broken("4", back, "commits that went back")


def _not_again(evidence: Evidence, verdict: Verdict) -> None:
    """5, 10: what was finished when a partition was assigned does not run in that assignment."""
    where = {read.job: (read.partition, read.offset) for read in evidence.inputs}
    finished = _FinishedBy(evidence)
    assigned: dict[tuple[int, int], float] = {}
    again, paid = [], []
    first: dict[str, str] = {}
    for note in evidence.notes:
        if note["event"] == "assigned":
            assigned |= {(note["pid"], partition): note["at"] for partition in note["partitions"]}
        elif note["event"] == "end":
            first[note["job"]] = note["how"]
        elif note["event"] == "start" and note["job"] in where:
            job, (partition, offset) = note["job"], where[note["job"]]
            since = assigned.get((note["pid"], partition), 0.0)
            if finished(partition, offset, since) and not evidence.by_hand:
                again.append(job)
            elif evidence.done.get(job, since) < since:
                paid.append(job)
            _count_again(verdict.figures, first.get(job), note["attempt"])
            first[job] = "started"
    verdict.broken("5", again, "jobs that a commit called finished ran again")
    verdict.broken("10", paid, "jobs with a committed result ran again")


def _count_again(figures: Figures, before: str | None, attempt: int) -> None:
    """An effect that was over and is made again is in the stated window; one that was under way is counted apart."""
    if attempt == 1 and before == "done":
        figures.effects_again += 1
    elif attempt == 1 and before in ("started", "cancelled"):
        figures.in_flight_again += 1


class _FinishedBy:
    """Whether a commit said, before a moment, that an offset is finished."""

    def __init__(self, evidence: Evidence) -> None:
        self._maps: dict[int, list[tuple[float, offsetmap.OffsetMap]]] = defaultdict(list)
        for commit in evidence.commits:
            try:
                read = offsetmap.decode(commit.offset, commit.metadata)
            except offsetmap.CorruptOffsetMap:
                continue  # a fault of the cell's own making
            self._maps[commit.partition].append((commit.at, read))

    def __call__(self, partition: int, offset: int, before: float) -> bool:
        maps = self._maps[partition]
        index = bisect_left(maps, before, key=lambda entry: entry[0])
        return index > 0 and maps[index - 1][1].finished(offset)


def _tenancies(evidence: Evidence, verdict: Verdict) -> None:
    """6, 7: nothing is committed from a partition that the process had given up or lost before the transaction began."""
    committed = {note["tx"] for note in evidence.notes if note["event"] == "committed"}
    where = {read.job: read.partition for read in evidence.inputs}
    held: dict[int, set[int]] = defaultdict(set)
    holds: dict[str, frozenset[int]] = {}
    late, stale = [], []
    for note in evidence.notes:
        match note["event"]:
            case "assigned":
                held[note["pid"]] |= set(note["partitions"])
            case "revoked":
                held[note["pid"]] -= set(note["partitions"])
            case "begin":
                holds[note["tx"]] = frozenset(held[note["pid"]])
            case "send" if note["tx"] in committed and where.get(note["job"]) not in holds[note["tx"]]:
                late.append(f"{note['job']} in {note['tx']}")
            case "offsets" if note["tx"] in committed:
                stale += [f"{p} in {note['tx']}" for p, _, _ in note["offsets"] if p not in holds[note["tx"]]]
    verdict.broken("6", stale, "commits for partitions that were gone")
    verdict.broken("7", late, "results committed from partitions that were given up")


def _producers(evidence: Evidence, verdict: Verdict) -> None:
    """8: after a transaction of unknown outcome its producer begins no other."""
    unsure: dict[tuple[int, int], str] = {}
    aborted, again = {n["tx"] for n in evidence.notes if n["event"] == "aborted"}, []
    for note in evidence.notes:
        if note["event"] == "unsure" and note["tx"] not in aborted:
            unsure[note["pid"], note["producer"]] = note["tx"]
            verdict.figures.unsure += 1
        elif note["event"] == "begin" and (before := unsure.get((note["pid"], note["producer"]))):
            again.append(f"{note['tx']} after {before}")
    verdict.broken("8", again, "transactions by a producer whose last one is of unknown outcome")


def _bounded(evidence: Evidence, verdict: Verdict) -> None:
    """12: records at work in a process, and what a commit carries."""
    working: Counter[int] = Counter()
    most: Counter[int] = Counter()
    for note in evidence.notes:
        if note["event"] in ("start", "end"):
            working[note["pid"]] += 1 if note["event"] == "start" else -1
            most[note["pid"]] = max(most[note["pid"]], working[note["pid"]])
    limit = evidence.bound + max(1, evidence.bound // 4)
    verdict.broken(
        "12", (f"{n} in process {pid}" for pid, n in most.items() if n > limit), f"times over {limit} at work"
    )
    long = (len(text) for _, _, _, text in _offsets_committed(evidence) if len(text) > offsetmap.MAX_CHARS)
    verdict.broken("12", long, "commits with too much metadata")


def _progress(evidence: Evidence, verdict: Verdict) -> None:
    """13, 15: with the faults over, everything is done within the cell's limit; and nobody stopped, or waited for another's job."""
    figures = verdict.figures
    figures.catch_up_s = round(max(0.0, evidence.finished_at - evidence.healed_at), 2)
    times = sorted(evidence.done.values())
    figures.silence_s = round(max((b - a for a, b in pairwise(times)), default=0.0), 2)
    figures.p99_s = _p99(evidence)
    if figures.lost or figures.catch_up_s > evidence.limit_s:
        verdict.broken("13", [f"{figures.lost} to do after {figures.catch_up_s} s"], "times too slow")
    if (limit := evidence.others_wait_s) is not None:
        sound = {note["job"] for note in evidence.load if note["event"] == "invoke" and note["prompt"] == "x"}
        late = (f"{job} after {took:.1f} s" for job, took in _took(evidence).items() if job in sound and took > limit)
        verdict.broken("15", late, "jobs were held up by others")
    stopped = (n["error"] for n in evidence.notes if n["event"] == "stopped" and n["error"] not in evidence.refusals)
    verdict.broken("13", stopped, "workers stopped by themselves")


def _took(evidence: Evidence) -> dict[str, float]:
    """Seconds from a job's acknowledgement to its result's being seen."""
    told = {note["job"]: note["at"] for note in evidence.load if note["event"] == "ok"}
    return {job: at - told[job] for job, at in evidence.done.items() if job in told}


def _p99(evidence: Evidence) -> float:
    took = _took(evidence).values()
    return round(max(0.0, statistics.quantiles(took, n=100)[98]), 2) if len(took) > 1 else 0.0


def _offsets_committed(evidence: Evidence) -> Iterator[tuple[str, int, int, str]]:
    committed = {note["tx"] for note in evidence.notes if note["event"] == "committed"}
    for note in evidence.notes:
        if note["event"] == "offsets" and note["tx"] in committed:
            yield from ((note["tx"], partition, offset, text) for partition, offset, text in note["offsets"])
