"""Reading the source files, and joining each with its secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from headrace.gateway.settings import GatewaySettings
from headrace.gateway.sources.build import Builder, Handshakes, variables
from headrace.gateway.sources.credentials import OpenVerifier
from headrace.gateway.sources.model import SourceConfig
from headrace.gateway.sources.outbound import GuardedOutbound, Outbound
from headrace.gateway.sources.schemes import OPENABLE
from headrace.gateway.sources.verify import Verifier
from headrace.messages.errors import FatalError
from headrace.observe.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookSource:
    """A known sender. Without a ``verifier`` its deliveries are refused: ``refusal`` says what an operator has to set."""

    config: SourceConfig
    verifier: Verifier | None
    refusal: str = ""
    handshakes: Handshakes = field(default_factory=Handshakes)


def load_sources(
    settings: GatewaySettings, environ: Mapping[str, str], outbound: Outbound | None = None
) -> dict[str, WebhookSource]:
    """All sources by name. ``outbound`` is how those that have to ask someone do so; by default through the guard.

    Raises:
        FatalError: a file is not a source, a name is taken, a secret is no key, or ``HEADRACE_WEBHOOK_OPEN`` opens what it can't.
    """
    configs = load_configs(settings.sources_dir)
    _check_open(settings.webhook_open, configs)
    builder = Builder(environ, outbound or GuardedOutbound())
    sources = {name: _source(config, settings, builder) for name, config in configs.items()}
    log.info("webhook_sources", known=len(sources), configured=[n for n, each in sources.items() if each.verifier])
    return sources


def load_configs(directory: Path | None) -> dict[str, SourceConfig]:
    """What all source files say, by name: the built-in ones and those of ``directory``. Raises ``FatalError``."""
    configs: dict[str, SourceConfig] = {}
    taken: dict[str, str] = {}
    for where, text in _files(directory):
        config = _parse(where, text)
        if config.name in configs:
            raise FatalError(f"webhook source {where}: the name {config.name!r} is taken")
        for variable in variables(config):
            if (other := taken.setdefault(variable, config.name)) != config.name:
                raise FatalError(f"webhook source {where}: {variable} belongs to {other!r} already")
        configs[config.name] = config
    return configs


def _files(directory: Path | None) -> Iterable[tuple[str, str]]:
    builtin = resources.files(__package__)
    for file in sorted(builtin.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield file.name, file.read_text(encoding="utf-8")
    if directory is None:
        return
    try:
        for path in sorted(directory.iterdir()):
            if path.suffix in (".yaml", ".yml"):
                yield str(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FatalError(f"HEADRACE_SOURCES_DIR {directory}: {type(error).__name__}") from error


def _parse(where: str, text: str) -> SourceConfig:
    try:
        document: Any = yaml.load(text, Loader=yaml.CSafeLoader)
        return SourceConfig.model_validate(document)
    except yaml.YAMLError as error:
        raise FatalError(f"webhook source {where}: not YAML") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        path = "/".join(str(part) for part in first["loc"])
        raise FatalError(f"webhook source {where}: {first['msg']} (at /{path})") from None


def _check_open(names: Iterable[str], configs: Mapping[str, SourceConfig]) -> None:
    for name in names:
        if name not in configs:
            raise FatalError(f"HEADRACE_WEBHOOK_OPEN names {name!r}, which is no webhook source")
        if not openable(configs[name]):
            raise FatalError(
                f"HEADRACE_WEBHOOK_OPEN names {name!r}, which signs its deliveries: set its secret instead"
            )


def openable(config: SourceConfig) -> bool:
    """Whether an operator may let it deliver without any proof: it signs nothing."""
    return all(isinstance(auth, OPENABLE) for auth in config.auth)


def _source(config: SourceConfig, settings: GatewaySettings, builder: Builder) -> WebhookSource:
    verifier = builder.verifier(config)
    if verifier is None and config.name in settings.webhook_open:
        log.warning("webhook_source_opened", source=config.name)
        verifier = OpenVerifier()
    if verifier is None:
        return WebhookSource(config, None, _refusal(config))
    return WebhookSource(config, verifier, handshakes=builder.handshakes(config))


def _refusal(config: SourceConfig) -> str:
    proofs = [name for name, kind in variables(config).items() if kind not in ("proxy", "verify token")]
    remedies = [f"set {' or '.join(proofs)}"] if proofs else []
    if openable(config):
        remedies.append("name it in HEADRACE_WEBHOOK_OPEN")
    return f"this gateway is not configured for this source; its operator has to {', or '.join(remedies)}"
