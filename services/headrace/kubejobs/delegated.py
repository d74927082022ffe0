"""A delegation to a Kubernetes Job, from arguments to outcome."""

from __future__ import annotations

from typing import Final

import orjson

from headrace.kubejobs.job import Caller, delegation, job, job_name
from headrace.kubejobs.port import Cluster
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError

_SAID: Final = 1_000  # characters of a failed Job's last words


class JobFailed(HeadraceError):
    """The Job ran and failed; the text has its last words."""


async def delegated(
    arguments: JsonObject, caller: Caller, settings: KubeSettings, cluster: Cluster | None
) -> JsonObject:
    """``{state: completed, job, result}``; without a cluster ``{state: dry_run, job, spec}``.

    ``result`` is the last line that the Job printed if that is JSON, else all that it printed. A call that is made again finds its
    own Job, whether that runs or has ended. Raises ``JobRefused``, ``JobFailed``, ``ClusterError``.
    """
    spec = job(delegation(arguments), caller, settings)
    name = job_name(caller)
    if cluster is None:
        return {"state": "dry_run", "job": name, "spec": spec}
    await cluster.submit(spec)
    ended = await cluster.ended(name)
    if ended.state == "failed":
        words = ended.output.strip()[-_SAID:]
        raise JobFailed(f"the Job failed ({ended.reason or 'no reason given'})" + (f": {words}" if words else ""))
    return {"state": "completed", "job": name, "result": result_of(ended.output)}


def result_of(output: str) -> object:
    """What a Job's output says."""
    lines = output.strip().splitlines()
    if lines:
        try:
            return orjson.loads(lines[-1])
        except orjson.JSONDecodeError:
            pass
    return output.strip()
