"""What a service is to the process that runs it.

Every service package has ``__main__.py`` with ``compose(settings)``, an async context manager that builds the service's resources
and gives its ``Component``. ``headrace run SERVICE...`` composes any set of them in one process; in production it is one each.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from headrace.settings import MeshSettings


class Component(Protocol):
    """A running service."""

    name: str

    async def start(self) -> None:
        """Begin to work; returns once started, which may be before ``ready``."""
        ...

    async def wait(self) -> None:
        """Until the service ends: returns after ``stop``, raises the reason if it failed."""
        ...

    async def stop(self) -> None:
        """Finish what is in flight (within ``drain_seconds``), then end."""
        ...

    def ready(self) -> bool:
        """Whether it does its work now: ``/readyz``."""
        ...

    def status(self) -> dict[str, Any]:
        """Facts for ``headrace status``: JSON-ready, without secrets."""
        ...


Compose = Callable[[MeshSettings], AbstractAsyncContextManager[Component]]
