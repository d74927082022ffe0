"""The process around services: compose them, serve the operations endpoint, stop on a signal, exit with a code that says why.

Exit codes: 0 after a stop that was asked for, 1 when a service failed (the log's last error line says why), 2 when a setting or
a service's name is wrong. What a wrong setting holds is never printed: it may be a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import uvloop
from pydantic import ValidationError
from pydantic_settings import SettingsError

from headrace import config_file
from headrace.host.component import Component, Compose
from headrace.host.memory import settle_memory
from headrace.host.ops import Ops, server
from headrace.messages.errors import HeadraceError
from headrace.observe import logging as logs
from headrace.observe.export import exported
from headrace.pipeline import STAGES
from headrace.settings import MeshSettings, problems

log = logs.get_logger(__name__)


class UnknownService(ValueError):
    """A name that is no service of the pipeline."""


def composers(services: Sequence[str]) -> list[Compose]:
    """``compose`` of each service. Raises ``UnknownService``."""
    if unknown := [name for name in services if name not in STAGES]:
        raise UnknownService(f"no such service: {', '.join(unknown)} (there are: {', '.join(STAGES)})")
    return [importlib.import_module(f"headrace.{name}.__main__").compose for name in services]


async def run(services: Sequence[str], settings: MeshSettings) -> None:
    """Run ``services`` until SIGTERM or SIGINT, or until one of them fails (its error is raised)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        components: list[Component] = []
        ops = server(Ops(services, components), settings.ops_host, settings.ops_port)
        ops_task = asyncio.create_task(ops.serve())
        try:
            # A dependency may be long in coming (a table waits for its topic): a signal must still end the process.
            starting = asyncio.create_task(_start(services, settings, components, stack))
            await _until(stop, [starting], all_of=True)
            if not stop.is_set():
                await _until(stop, [asyncio.create_task(component.wait()) for component in components], all_of=False)
        finally:
            log.info("stopping", services=list(services))
            await asyncio.gather(*(component.stop() for component in components), return_exceptions=True)
            ops.should_exit = True
            await asyncio.gather(ops_task, return_exceptions=True)


async def _start(
    services: Sequence[str], settings: MeshSettings, components: list[Component], stack: contextlib.AsyncExitStack
) -> None:
    for compose in composers(services):
        component = await stack.enter_async_context(compose(settings))
        components.append(component)
        await component.start()
        log.info("service_started", service=component.name)
    settle_memory()


async def _until(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]], *, all_of: bool) -> None:
    """Until ``stop``, or all (or the first) of ``tasks`` end; what they raise is raised. What still runs is cancelled."""
    stopped = asyncio.create_task(stop.wait())
    try:
        pending: set[asyncio.Task[object]] = set(tasks)
        while pending and not stop.is_set():
            done, rest = await asyncio.wait({*pending, stopped}, return_when=asyncio.FIRST_COMPLETED)
            pending = rest - {stopped}
            for task in done - {stopped}:
                task.result()
            if not all_of:
                break
    finally:
        for task in (*tasks, stopped):
            task.cancel()
        await asyncio.gather(*tasks, stopped, return_exceptions=True)


def main(services: Sequence[str]) -> None:
    """Entry point of ``python -m headrace.<service>`` and ``headrace run``."""
    try:
        settings = MeshSettings()
        name = "+".join(services)
        logs.configure(settings.log_level, service=name)
        if keys := config_file.unused(os.environ):
            log.warning("configuration_not_used", keys=keys)
        with exported(name, settings.instance), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(services, settings))
    except (ValidationError, SettingsError) as error:
        _wrong_usage(f"bad settings: {problems(error)}")
    except UnknownService as error:
        _wrong_usage(str(error))
    except HeadraceError as error:
        log.error("process_failed", error=f"{type(error).__name__}: {error}")
        sys.exit(1)


def _wrong_usage(text: str) -> NoReturn:
    sys.stderr.write(f"headrace: {text}\n")
    sys.exit(2)
