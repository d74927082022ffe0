"""``headrace events``"""

from __future__ import annotations

import secrets
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import App, Parameter

from headrace.cli.output import Exit, print_json, print_table, stop
from headrace.cli.sending import post, row_of, said, send_sample
from headrace.cli.target import JsonFlag, Target, gateway_client, run_async
from headrace.messages.errors import BadMessage
from headrace.messages.strict_json import loads
from headrace.samples import Sample, samples

app = App(name="events", help="Send events into the mesh.", help_format="markdown")

_NOWHERE = Target()


@app.command
def send(
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    *,
    source: str | None = None,
    type: str | None = None,
    payload: str | None = None,
    id: str | None = None,
    sample: Annotated[bool, Parameter(negative=())] = False,
    only: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Send an event to the gateway: from a file, from options, or the bundled samples.

    A file holds an envelope (`source`, `event_type`, `payload`), a CloudEvent, or a JSON list of CloudEvents; `-` is stdin.
    Exits with 1 if any event was not accepted.

    Examples: `headrace events send --source shop --type order.placed --payload '{"total": 12}'`,
    `headrace events send event.json`, `headrace events send --sample --only dependabot`

    Parameters
    ----------
    file
        JSON file, or - for stdin.
    source
        Source of an envelope made from options.
    type
        Its event type.
    payload
        Its payload, as JSON.
    id
        Its id, by which a repetition is known; by default a new one.
    sample
        Send the sample webhooks and events that the demo uses, signed, with new ids.
    only
        Of the samples, only those with this text in their name or kind.
    json
        Print JSON.
    """
    if sample:
        chosen = [s for s in samples(secrets.token_hex(4)) if only is None or only in s.name or only in s.kind]
        if not chosen:
            raise stop(f"no sample has {only!r} in its name or kind", 4)
        rows = run_async(_send_samples(target, chosen))
    else:
        body = _body(file, source, type, payload, id)
        rows = run_async(_send_body(target, body))
    if json:
        print_json(rows)
    else:
        print_table(
            ("event", "status", "answer"),
            [(r["event"], r["status"], said(r["answer"])) for r in rows],
            whole=("event",),
        )
    if any(row["status"] >= 300 for row in rows):
        raise Exit(1)


def _body(file: Path | None, source: str | None, type_: str | None, payload: str | None, id_: str | None) -> bytes:
    options = (source, type_, payload, id_)
    if file is not None and any(option is not None for option in options):
        raise stop("give either a FILE, or --source and --type with --payload and --id", 2)
    if file is not None and str(file).startswith("-") and str(file) != "-":
        raise stop(f"unknown option {file}", 2)
    if file is not None:
        data = sys.stdin.buffer.read() if str(file) == "-" else _read(file)
    elif source and type_:
        envelope = {"source": source, "event_type": type_, "id": id_ or str(uuid.uuid4())}
        data = orjson.dumps(envelope | {"payload": _json(payload or "{}", "--payload")})
    else:
        raise stop("give a FILE, or --source and --type, or --sample", 2)
    _json(data, str(file or "the event"))
    return data


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise stop(f"{file}: {error.strerror}", 2) from None


def _json(text: str | bytes, where: str) -> Any:
    try:
        return loads(text.encode() if isinstance(text, str) else text)
    except BadMessage as error:
        raise stop(f"{where}: {error}", 2) from None


def _content_type(body: bytes) -> str:
    value = loads(body)
    if isinstance(value, list):
        return "application/cloudevents-batch+json"
    return "application/cloudevents+json" if isinstance(value, dict) and "specversion" in value else "application/json"


async def _send_body(target: Target, body: bytes) -> list[dict[str, Any]]:
    async with gateway_client(target.gateway_url()) as client:
        response = await post(client, "/events", body, {"content-type": _content_type(body)})
    return [row_of("event", response)]


async def _send_samples(target: Target, chosen: list[Sample]) -> list[dict[str, Any]]:
    async with gateway_client(target.gateway_url()) as client:
        return [row_of(sample.name, await send_sample(client, sample, target.data)) for sample in chosen]
