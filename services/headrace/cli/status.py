"""``headrace status``"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

import httpx2
import psutil

from headrace.cli.output import Exit, print_json, print_table
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.local.stack import PartStatus, State
from headrace.local.state import MeshState, ServiceStatus

_NOWHERE = Target()
_SAMPLE_S = 1.0


def status(*, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Each server and service: state, lag, rate, in flight, restarts.

    Exits with 3 if no mesh is up there, and with 1 if something of it is not ready.

    Example: `headrace status --json | jq .services`

    Parameters
    ----------
    json
        Print JSON.
    """
    state = target.state()
    report = run_async(_report(state))
    if json:
        print_json(report)
    else:
        _show(report)
    rows = (*report["servers"], *report["services"])
    if state.phase != "ready" or any(row["state"] not in ("ready", "external") for row in rows):
        raise Exit(1)


async def _report(state: MeshState) -> dict[str, Any]:
    async with httpx2.AsyncClient(trust_env=False, timeout=2.0) as client:
        before = await asyncio.gather(*(_ask(client, service) for service in state.services))
        started = time.monotonic()
        await asyncio.sleep(_SAMPLE_S)
        after = await asyncio.gather(*(_ask(client, service) for service in state.services))
    seconds = time.monotonic() - started
    return {
        "phase": state.phase,
        "gateway": state.gateway_url,
        "auth": next((figures["auth"] for figures in after if figures and "auth" in figures), None),
        "servers": [
            {
                "name": part.name,
                "state": _server_state(part),
                "restarts": part.restarts,
                "pid": part.pid,
                "error": part.error,
            }
            for part in state.parts
        ],
        "services": [
            _row(service, first, second, seconds)
            for service, first, second in zip(state.services, before, after, strict=True)
        ],
    }


def _server_state(part: PartStatus) -> str:
    """A crash is seen here before the supervisor has written it down, or where that is gone too."""
    crashed = part.state == State.READY and part.pid is not None and not psutil.pid_exists(part.pid)
    return "crashed" if crashed else part.state.value


async def _ask(client: httpx2.AsyncClient, service: ServiceStatus) -> dict[str, Any] | None:
    """A service's own figures; None if it does not answer."""
    try:
        response = await client.get(f"http://127.0.0.1:{service.ops_port}/status")
        figures: dict[str, Any] = response.json()["services"][service.name]
    except (httpx2.HTTPError, ValueError, KeyError):
        return None
    return figures


def _row(
    service: ServiceStatus, before: dict[str, Any] | None, after: dict[str, Any] | None, seconds: float
) -> dict[str, Any]:
    figures = after or {}
    done = figures.get("finished")
    rate = (done - (before or {}).get("finished", done)) / seconds if done is not None else None
    return {
        "name": service.name,
        "state": service.state.value if after or service.state.value != "ready" else "not answering",
        "since": datetime.fromtimestamp(service.since).astimezone().isoformat(timespec="seconds"),
        "restarts": service.restarts,
        "pid": service.pid,
        "lag": figures.get("lag"),
        "rate_per_s": rate,
        "in_flight": figures.get("in_flight"),
        "finished": done,
        "dead_lettered": figures.get("dead_lettered"),
        "error": service.error,
    }


def _show(report: dict[str, Any]) -> None:
    auth = {"on": "on", "off": "OFF (loopback only)"}.get(report["auth"], "unknown")
    print(f"mesh: {report['phase']}   gateway: {report['gateway']}   auth: {auth}\n")
    servers = [(r["name"], r["state"], r["restarts"], r["pid"], r["error"]) for r in report["servers"]]
    print_table(
        ("server", "state", "restarts", "pid", "error"), servers, empty="no servers yet", whole=("server", "state")
    )
    print()
    columns = (
        "name",
        "state",
        "lag",
        "rate_per_s",
        "in_flight",
        "finished",
        "dead_lettered",
        "restarts",
        "pid",
        "error",
    )
    titles = ("service", "state", "lag", "rate/s", "in flight", "finished", "dead letters", "restarts", "pid", "error")
    print_table(
        titles,
        [[row[column] for column in columns] for row in report["services"]],
        empty="no services yet",
        whole=("service", "state"),
        spare=("pid", "finished"),
    )
