"""The two ends of a delegation: from a call's arguments to the Job that is submitted, from the Job's end to what the call gives."""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from headrace.kubejobs.job import Caller, delegation, job, job_name, seconds
from headrace.kubejobs.port import Cluster, Ended
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError

_SAID: Final = 900  # characters of a failed Job's last words


class JobFailed(HeadraceError):
    """The Job ran and failed, or nobody knows; the text has its last words."""


class Submitted(NamedTuple):
    """A Job that ends by itself within ``seconds`` of its start. ``spec`` is what the API server takes."""

    name: str
    seconds: int
    spec: JsonObject


async def submitted(
    arguments: JsonObject, caller: Caller, settings: KubeSettings, cluster: Cluster | None
) -> Submitted:
    """The Job of this call; without a cluster it is only built. A call that is made again finds its own Job.

    Raises ``JobRefused``, ``ClusterError``.
    """
    asked = delegation(arguments)
    made = Submitted(job_name(caller), seconds(asked, caller, settings), job(asked, caller, settings))
    if cluster is not None:
        await cluster.submit(made.spec)
    return made


def outcome(name: str, ended: Ended) -> JsonObject:
    """``{state: completed, job, result}``: the last line that the Job printed if that is JSON, else all that it printed.

    Raises ``JobFailed``.
    """
    if ended.state == "gone":
        raise JobFailed("the Job is not in the cluster any more, and what came of it is not known")
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
