"""``headrace topics``"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace.cli.output import Exit, print_json, print_table
from headrace.cli.target import JsonFlag, Target
from headrace.runtime.acls import allow
from headrace.runtime.admin import Admin
from headrace.topology.acls import replay_acls
from headrace.topology.plan import Change
from headrace.topology.spec import load_all

app = App(name="topics", help="The mesh's topics, as topics/*.yaml declares them.", help_format="markdown")

_NOWHERE = Target()


@app.command
def diff(*, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """What `apply` would change. Changes nothing; exits with 5 if there is anything to do.

    Example: `headrace topics diff`

    Parameters
    ----------
    json
        Print JSON.
    """
    changes = Admin(target.settings()).diff(load_all().values())
    _show(changes, json=json, empty="the topics are as declared")
    if changes:
        raise Exit(5)


@app.command
def apply(
    *,
    replication: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Create missing topics and change what is safe to change. Whatever would lose records is refused, and said (exit 5).

    Works on any Kafka or Redpanda: set KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and DATABASE_URL.

    Example: `headrace topics apply --replication 3`

    Parameters
    ----------
    replication
        Replication factor of new topics; by default 3, or as many as there are brokers.
    dry_run
        Only show what would be done.
    json
        Print JSON.
    """
    admin, specs = Admin(target.settings()), load_all().values()
    act = admin.diff if dry_run else admin.apply
    changes = act(specs, replication=replication)
    _show(changes, json=json, empty="the topics are as declared")
    if any(change.refused for change in changes):
        raise Exit(5)


@app.command
def acls(
    *,
    principal: str,
    for_: Annotated[Literal["replay"], Parameter(name="--for")] = "replay",
    apply: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """What a principal of Kafka may do, as ACLs: a replay may read all of the mesh's topics, and write none of the live ones.

    Example: `headrace topics acls --principal User:replay`

    Parameters
    ----------
    principal
        As Kafka names it, such as User:replay.
    for
        replay: who runs `headrace replay shadow` and `headrace replay run`.
    apply
        Put them into the cluster, as the user of HEADRACE_KAFKA_OPTIONS.
    json
        Print JSON.
    """
    settings = target.settings(kafka=apply)
    wanted = {"replay": replay_acls}[for_](load_all(), settings.topic_prefix)
    if apply:
        allow(settings, principal, wanted)
    if json:
        print_json([asdict(acl) | {"principal": principal, "pattern": acl.pattern} for acl in wanted])
        return
    rows = [(principal, acl.operation, acl.resource, acl.name, acl.pattern) for acl in wanted]
    print_table(["principal", "may", "of", "name", "pattern"], rows)


def _show(changes: Sequence[Change], *, json: bool, empty: str) -> None:
    if json:
        print_json(changes)
    else:
        print_table(["topic", "change"], [(change.topic, str(change)) for change in changes], empty=empty)
