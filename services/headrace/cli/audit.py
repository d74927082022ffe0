"""``headrace audit``"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from headrace.audit.chain import Head
from headrace.audit.check import Chain
from headrace.audit.reading import entry_wire, read, scan_entries
from headrace.audit.verify import Report, verify
from headrace.cli.output import Exit, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.messages.audit import AuditEvent, Kind
from headrace.pipeline import STAGES
from headrace.settings import MeshSettings

app = App(name="audit", help="The audit log: is it whole, and what it says.", help_format="markdown")

_NOWHERE = Target()
_TOPICS = STAGES["audit"].consumes


@app.command(name="verify")
def verify_(
    *,
    topic: tuple[str, ...] = (),
    deep: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Check the hash chain of every source partition, and name the first break of each. Exits with 5 if there is any.

    Example: `headrace audit verify --deep`

    Parameters
    ----------
    topic
        Only the chains of this source topic; may be repeated.
    deep
        Also hold the source records that are still there against their entries: every byte of key, value and headers.
    json
        Print JSON, with the head of each chain: kept elsewhere, it proves later that nothing up to it was rewritten.
    """
    if unknown := [name for name in topic if name not in _TOPICS]:
        raise stop(f"not audited: {', '.join(unknown)} (choose from {', '.join(_TOPICS)})", 2)
    report = run_async(verify(target.settings(), topic, deep=deep))
    if json:
        print_json(_facts(report))
    else:
        _show(report, deep=deep)
    if report.broken:
        raise Exit(5)


@app.command(name="list")
def list_(
    run: str | None = None,
    *,
    replay: str | None = None,
    kind: Kind | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """The audit entries of one agent run, of one replay or of one kind, in order of time. Reads the whole log; exits with 4 if
    there are none.

    Example: `headrace audit list --kind replay_acted`

    Parameters
    ----------
    run
        The run's id.
    replay
        Only of this replay id.
    kind
        Only of this kind: replay_acted says who replayed what.
    json
        Print JSON.
    """
    asked = {
        name: value for name, value in (("run_id", run), ("replay_id", replay), ("kind", kind)) if value is not None
    }
    if not asked:
        raise stop("entries of what? Name a run, --replay or --kind", 2)
    entries = run_async(_entries(target.settings(), asked))
    if not entries:
        raise stop("no audit entries of " + ", ".join(f"{name} {value}" for name, value in asked.items()), 4)
    if json:
        print_json([entry.plain(nulls=False) for entry in entries])
        return
    if all(entry.kind == "replay_acted" for entry in entries):
        print_table(("at", "who", "what", "replay", "of", "range", "error"), [_acted(entry) for entry in entries])
        return
    columns = ("kind", "record", "agent", "model", "tools", "status", "error", "tokens", "cost $", "ms")
    print_table(columns, [_row(entry) for entry in entries])


async def _entries(settings: MeshSettings, asked: Mapping[str, str]) -> list[AuditEvent]:
    """Those that have all of these values."""

    def meant(entry: AuditEvent) -> bool:
        return all(getattr(entry, name) == value for name, value in asked.items())

    async with entry_wire(settings) as wire, scan_entries(settings) as scan:
        found = [item.entry async for item in read(wire, scan) if item.entry and meant(item.entry)]
    return sorted(found, key=lambda entry: entry.source_timestamp_ms)


def _acted(entry: AuditEvent) -> tuple[object, ...]:
    at = datetime.fromtimestamp(entry.source_timestamp_ms / 1000, UTC).isoformat(timespec="seconds")
    of = entry.run_id or entry.agent_name or entry.service
    return at, entry.user_id, entry.status, entry.replay_id, of, entry.origin, entry.error_type


def _row(entry: AuditEvent) -> tuple[object, ...]:
    record = f"{entry.chain}/{entry.source_offset}"
    agent = f"{entry.agent_name}@{entry.agent_version}" if entry.agent_version else entry.agent_name
    tokens = None if entry.input_tokens is None else entry.input_tokens + (entry.output_tokens or 0)
    tools = ", ".join(dict.fromkeys(entry.tools)) or None
    facts = (agent, entry.model, tools, entry.status, entry.error_type, tokens, entry.cost_usd, entry.duration_ms)
    return (entry.kind, record, *facts)


def _show(report: Report, *, deep: bool) -> None:
    rows = [_line(chain) for chain in report.chains]
    print_table(("chain", "entries", "from", "to", "first break", "at", ""), rows, empty="no entries")
    rate = report.entries / report.seconds if report.seconds else 0.0
    records = f", {report.records} source records held against them" if deep else ""
    print(f"\n{report.entries} entries{records} in {report.seconds:.1f} s ({rate:,.0f} entries/s)")
    bad = len(report.broken)
    print(f"{bad} of {len(report.chains)} chains are broken" if bad else f"all {len(report.chains)} chains are whole")


def _line(chain: Chain) -> tuple[object, ...]:
    first, last = (_offset(chain.first), _offset(chain.head))
    if chain.broken is None:
        return chain.name, chain.entries, first, last, "", "", ""
    broken = chain.broken
    offset = "?" if broken.source_offset is None else broken.source_offset
    at = f"audit.events/{broken.at[0]}/{broken.at[1]}" if broken.at else None
    return chain.name, chain.entries, first, last, f"{broken.what} {chain.name}/{offset}", at, broken.detail


def _offset(head: Head | None) -> int | None:
    return head.offset if head else None


def _facts(report: Report) -> dict[str, Any]:
    return {
        "whole": not report.broken,
        "entries": report.entries,
        "source_records": report.records,
        "seconds": round(report.seconds, 3),
        "entries_per_second": round(report.entries / report.seconds) if report.seconds else 0,
        "chains": [
            {
                "topic": chain.topic,
                "partition": chain.partition,
                "entries": chain.entries,
                "first": asdict(chain.first) if chain.first else None,
                "head": asdict(chain.head) if chain.head else None,
                "break": asdict(chain.broken) if chain.broken else None,
            }
            for chain in report.chains
        ],
    }
