"""Reading the source files, and joining each with its secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from headrace.gateway.secrets import secret_variable
from headrace.gateway.settings import GatewaySettings, webhook_secrets
from headrace.gateway.sources.model import HmacAuth, NoAuth, SourceConfig
from headrace.gateway.sources.verify import HmacVerifier, OpenVerifier, TokenVerifier, Verifier
from headrace.messages.errors import FatalError
from headrace.observe.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookSource:
    """A known sender. Without a ``verifier`` its deliveries are refused: ``refusal`` says what an operator has to set."""

    config: SourceConfig
    verifier: Verifier | None
    refusal: str = ""


def load_sources(settings: GatewaySettings, environ: Mapping[str, str]) -> dict[str, WebhookSource]:
    """All sources by name: the built-in ones and those of ``HEADRACE_SOURCES_DIR``.

    Raises:
        FatalError: a file is not a source, a name is taken, or ``HEADRACE_WEBHOOK_OPEN`` opens what it can't.
    """
    configs: dict[str, SourceConfig] = {}
    for where, text in _files(settings.sources_dir):
        config = _parse(where, text)
        if config.name in configs:
            raise FatalError(f"webhook source {where}: the name {config.name!r} is taken")
        configs[config.name] = config
    _check_open(settings.webhook_open, configs)
    return {name: _source(config, settings, environ) for name, config in configs.items()}


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
        document: Any = yaml.safe_load(text)
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
        if isinstance(configs[name].auth, HmacAuth):
            raise FatalError(
                f"HEADRACE_WEBHOOK_OPEN names {name!r}, which signs its deliveries: set its secret instead"
            )


def _source(config: SourceConfig, settings: GatewaySettings, environ: Mapping[str, str]) -> WebhookSource:
    secrets = webhook_secrets(config.name, environ)
    if isinstance(config.auth, HmacAuth):
        if secrets:
            return WebhookSource(config, HmacVerifier(config.auth, secrets))
    elif not isinstance(config.auth, NoAuth) and secrets:
        return WebhookSource(config, TokenVerifier(secrets))
    elif config.name in settings.webhook_open:
        log.warning("webhook_source_opened", source=config.name)
        return WebhookSource(config, OpenVerifier())
    refusal = _refusal(config)
    log.info("webhook_source_not_configured", source=config.name, remedy=refusal)
    return WebhookSource(config, None, refusal)


def _refusal(config: SourceConfig) -> str:
    remedies = {
        "hmac": f"set {secret_variable(config.name)}",
        "token": f"set {secret_variable(config.name)}, or name it in HEADRACE_WEBHOOK_OPEN",
        "none": "name it in HEADRACE_WEBHOOK_OPEN",
    }
    return f"this gateway is not configured for this source; its operator has to {remedies[config.auth.scheme]}"
