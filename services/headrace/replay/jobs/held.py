"""A job that this process holds, with what all kinds of work on one need."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import asyncpg

from headrace.control.replays.leases import Leases
from headrace.control.replays.store import Replay
from headrace.messages.replay import ActionKind
from headrace.replay.actions import Tally, on_record
from headrace.replay.jobs.progress import Progress
from headrace.settings import MeshSettings


@dataclass(frozen=True, slots=True)
class Held:
    """What ``work.KINDS`` gives each kind's work, which returns what is to be said of the job: ``plan`` where it waits for a yes,
    else ``complete``. It raises:

        BadMessage, FatalError: it can't be done; the text says why
        DependencyUnavailable, TransientError: a server is away; the job waits for whoever takes it up
    """

    settings: MeshSettings
    pool: asyncpg.Pool
    leases: Leases
    job: Replay
    progress: Progress

    def on_record(self, kind: ActionKind, **about: Any) -> AbstractAsyncContextManager[Tally]:
        """``actions.on_record`` of this job: who asked for it, and which replay it is, go with it."""
        return on_record(self.settings, kind, self.job.started_by, replay_id=self.job.replay_id, **about)

    @property
    def agreed(self) -> bool:
        """Whether work that acts on the mesh may begin: somebody said yes, with the request or to its estimate."""
        return self.job.confirmed and not self.job.dry_run
