"""``headrace webhooks``"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from headrace.cli.mesh import SECRETS_FILE, webhook_secrets
from headrace.cli.output import Exit, print_json, print_table, stop
from headrace.cli.redelivery import Found, Wanted, find, repeat
from headrace.cli.sending import post, row_of, said
from headrace.cli.target import JsonFlag, Target, blobs_of, gateway_client, run_async
from headrace.gateway.secrets import secret_variable
from headrace.gateway.settings import GatewaySettings, environment, split
from headrace.gateway.sources.build import variables
from headrace.gateway.sources.examples import Example, examples
from headrace.gateway.sources.load import load_configs, openable
from headrace.gateway.sources.model import SourceConfig
from headrace.gateway.sources.sign import Proof, sign, signable
from headrace.replay.start import OutOfRange, parse_time

app = App(
    name="webhooks",
    help="Senders of webhooks: which there are, trying one, repeating deliveries.",
    help_format="markdown",
)

_NOWHERE = Target()
Secrets = dict[str, tuple[bytes, ...]]  # by variable
Flag = Annotated[bool, Parameter(negative=())]


@app.command(name="list")
def list_(*, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """The senders that the gateway knows, and whether this environment has their secrets.

    Those built in, and those in `HEADRACE_SOURCES_DIR`. What to set at each of them is in the documentation, and in `--json`.

    Example: `headrace webhooks list`

    Parameters
    ----------
    json
        Print JSON.
    """
    configs, given = _configs(), _secrets(target.data)
    if json:
        print_json([_facts(config, given) for config in configs.values()])
        return
    rows = [
        (name, "set" if _configured(config, given) else "-", next(iter(variables(config)), ""), config.description)
        for name, config in configs.items()
    ]
    print_table(("source", "secret", "variable", "description"), rows, whole=("source",), spare=("description",))


@app.command(name="test")
def try_source(
    source: str,
    *,
    gateway: str | None = None,
    only: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Send a sender's example deliveries to a running gateway, with a correct proof and new ids.

    Secrets are read from the same variables as the gateway's (`HEADRACE_WEBHOOK_SECRET_<SOURCE>`), else from the mesh that is up
    here. Exits with 1 if a delivery was not accepted. Agents run on what they are sent.

    Example: `headrace webhooks test gitlab --gateway https://events.example.org`

    Parameters
    ----------
    source
        Its name, as `webhooks list` shows it.
    gateway
        Base URL of the gateway, instead of the one that is up here.
    only
        Only the example of this name.
    json
        Print JSON.
    """
    configs = _configs()
    if source not in configs:
        raise stop(f"no webhook source is called {source!r}: see `headrace webhooks list`", 4)
    now = time.time()
    found = examples(source, GatewaySettings().sources_dir, ids=_new_ids(), now=now)
    chosen = [example for example in found if only in (None, example.name)]
    if not chosen:
        raise stop(f"{source} has no example{'' if only is None else f' called {only!r}'}", 4)
    given = _secrets(target.data)
    deliveries = [(example, _proof(configs[source], given, example, now)) for example in chosen]
    rows = run_async(_send(gateway or target.gateway_url(), source, deliveries))
    if json:
        print_json(rows)
    else:
        shown = [(row["event"], row["status"], said(row["answer"])) for row in rows]
        print_table(("delivery", "status", "answer"), shown, whole=("delivery",))
    if any(row["status"] >= 300 for row in rows):
        raise Exit(1)


@app.command
def redeliver(
    *ids: str,
    source: str | None = None,
    since: str | None = None,
    until: str | None = None,
    anew: Flag = False,
    dry_run: Flag = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Write deliveries to `ingest.raw` again, byte for byte as they came: by their ids, or all of a range of time.

    No signature or clock is checked again. Ingest still drops what it has processed in the last 72 hours, so this fills in what
    was lost and does nothing twice. With `--anew` each is a new delivery: its events are made again, and agents run on them again.
    Exits with 4 if there is no such delivery (any more).

    Example: `headrace webhooks redeliver --source github --since 2026-11-01T08:00:00Z --until 2026-11-01T09:00:00Z --dry-run`

    Parameters
    ----------
    ids
        Delivery ids, as the gateway answered them.
    source
        Only of this source.
    since
        Only those received at this ISO 8601 time or later; UTC if it names no offset.
    until
        Only those received before.
    anew
        Give each a new id.
    dry_run
        Only show which they are.
    json
        Print JSON.
    """
    if not ids and since is None:
        raise stop("name deliveries by their ids, or a range by --since", 2)
    wanted = Wanted(frozenset(ids), source, _millis(since), _millis(until))
    suffix = f"~{int(time.time()):x}" if anew else ""
    found = run_async(_redeliver(target, wanted, suffix, dry_run=dry_run))
    missing = sorted(wanted.ids - {each.id for each in found})
    if missing or not found:
        raise stop(f"no such delivery: {', '.join(missing) or 'none in that range'}; nothing was written", 4)
    if json:
        print_json([{"id": e.id + suffix, "source": e.source, "from": e.place, "bytes": e.size} for e in found])
        return
    title = "would be written again" if dry_run else "was written again"
    print_table(("source", title, "from"), [(e.source, e.id + suffix, e.place) for e in found], whole=(title,))


async def _redeliver(target: Target, wanted: Wanted, suffix: str, *, dry_run: bool) -> list[Found]:
    """What fits. All of it is written again, unless an id is missing or it is only a rehearsal."""
    settings = target.settings()
    found = await find(settings, wanted)
    if found and not dry_run and wanted.ids <= {each.id for each in found}:
        async with blobs_of(settings) as blobs:
            await repeat(settings, blobs, wanted, found, suffix=suffix)
    return found


async def _send(url: str, source: str, deliveries: list[tuple[Example, Proof]]) -> list[dict[str, Any]]:
    rows = []
    async with gateway_client(url) as client:
        for example, proof in deliveries:
            path = f"/webhooks/{source}" + (f"?{proof.query}" if proof.query else "")
            response = await post(client, path, example.body, {**example.headers, **proof.headers})
            rows.append(row_of(example.name, response))
    return rows


def _proof(config: SourceConfig, given: Secrets, example: Example, now: float) -> Proof:
    """What the sender would add; nothing where the gateway may have been told to ask for nothing."""
    if not signable(config):
        raise stop(f"only {config.name} itself can sign its deliveries: let it send one", 2)
    if proof := sign(config, given, example.body, now=now, delivery=example.id):
        return proof
    if openable(config):
        return Proof({})
    raise stop(f"set {' or '.join(variables(config))} to what the gateway has", 2)


def _facts(config: SourceConfig, given: Secrets) -> dict[str, Any]:
    return {
        "source": config.name,
        "path": f"/webhooks/{config.name}",
        "configured": _configured(config, given),
        "variables": list(variables(config)),
        "description": config.description,
        "setup": config.setup,
    }


def _configured(config: SourceConfig, given: Secrets) -> bool:
    return any(given.get(variable) for variable in variables(config))


def _configs() -> dict[str, SourceConfig]:
    return load_configs(GatewaySettings().sources_dir)


def _secrets(data: Path) -> Secrets:
    """All webhook secrets by variable: of the environment, and GitHub's of the mesh on ``data``."""
    environ = environment()
    if (data / SECRETS_FILE).exists():
        environ = webhook_secrets(data) | environ
    prefix = secret_variable("")
    return {
        name: tuple(each.encode() for each in split(value))
        for name, value in environ.items()
        if name.startswith(prefix)
    }


def _new_ids() -> Iterator[str]:
    while True:
        yield str(uuid.uuid4())


def _millis(text: str | None) -> int | None:
    try:
        return None if text is None else parse_time(text).timestamp_ms
    except OutOfRange as error:
        raise stop(str(error), 2) from None
