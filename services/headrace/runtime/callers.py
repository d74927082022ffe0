"""Topics that callers name, such as a job's ``reply_to``: whether they are there.

A record for a topic that is not there fails its whole transaction, again and again, and with it the work of all others. So such
a topic is looked for before anything is made for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from functools import cache
from typing import Final

from headrace.messages.errors import DependencyUnavailable
from headrace.runtime.cluster import Cluster
from headrace.settings import MeshSettings

_KEPT_S: Final = 5.0  # for topics that are there; one that is not is looked for again, since it may have just been made


class CallersTopics:
    """The cluster's topics, by its own names, as they were a moment ago."""

    def __init__(self, names: Callable[[], Collection[str]], clock: Callable[[], float] = time.monotonic) -> None:
        """``names`` gives the names of all topics. It may block, and raise ``DependencyUnavailable``."""
        self._names = names
        self._clock = clock
        self._known: Collection[str] = ()
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def exists(self, topic: str) -> bool:
        """Whether the cluster has ``topic``. While Kafka is away: yes, since nothing can be committed then either."""
        since = self._clock()
        if topic in self._known and since - self._asked_at < _KEPT_S:
            return True
        async with self._asking:
            if self._asked_at < since:
                asked_at = self._clock()
                try:
                    self._known = frozenset(await asyncio.to_thread(self._names))
                except DependencyUnavailable:
                    return True
                self._asked_at = asked_at
        return topic in self._known


def topics_of(settings: MeshSettings) -> CallersTopics:
    """Of the cluster that ``settings`` name, which is connected to when a caller first names a topic."""
    cluster = cache(lambda: Cluster(settings))
    return CallersTopics(lambda: cluster().metadata().topics.keys())
