"""From what a source file says to what judges its deliveries and answers its handshakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from headrace.gateway.secrets import secret_variable
from headrace.gateway.settings import webhook_secrets
from headrace.gateway.sources.certificates import Certificates
from headrace.gateway.sources.credentials import BasicVerifier, ClientCertVerifier, TokenVerifier
from headrace.gateway.sources.handshake_model import (
    CrcHandshake,
    EchoHandshake,
    OriginHandshake,
    SnsHandshake,
    VerifyTokenHandshake,
)
from headrace.gateway.sources.handshakes import Crc, Echo, Origin, SnsConfirmation, VerifyToken
from headrace.gateway.sources.model import SourceConfig
from headrace.gateway.sources.outbound import Outbound
from headrace.gateway.sources.schemes import (
    Auth,
    BasicAuth,
    ClientCertAuth,
    Ed25519Auth,
    HmacAuth,
    SnsAuth,
    TokenAuth,
)
from headrace.gateway.sources.signatures import Ed25519Verifier, HmacVerifier, hmac_keys
from headrace.gateway.sources.sns import SnsVerifier
from headrace.gateway.sources.verify import FirstPresented, Verifier
from headrace.messages.errors import FatalError

PROXY = "proxy"  # suffix of the variable that a proxy's own secret is in


@dataclass(frozen=True, slots=True)
class Handshakes:
    """A source's handshakes, by how they come: in a delivery, as a GET, as OPTIONS."""

    posts: tuple[Echo | SnsConfirmation, ...] = ()
    gets: tuple[VerifyToken | Crc, ...] = ()
    origins: tuple[Origin, ...] = ()


class Builder:
    """``environ`` has the secrets."""

    def __init__(self, environ: Mapping[str, str], outbound: Outbound) -> None:
        self._environ = environ
        self._outbound = outbound

    @cached_property
    def _certificates(self) -> Certificates:
        return Certificates(self._outbound)

    def verifier(self, config: SourceConfig) -> Verifier | None:
        """What judges the source's deliveries; None where it has no secrets. Raises ``FatalError`` for a bad secret."""
        found = [verifier for auth in config.auth if (verifier := self._verifier(config, auth)) is not None]
        return FirstPresented(found) if len(found) > 1 else next(iter(found), None)

    def handshakes(self, config: SourceConfig) -> Handshakes:
        """Those handshakes whose secrets there are."""
        posts: list[Echo | SnsConfirmation] = []
        gets: list[VerifyToken | Crc] = []
        origins: list[Origin] = []
        for rule in config.handshakes:
            match rule:
                case EchoHandshake():
                    posts.append(Echo(rule, self._key(config) if rule.signed else b""))
                case SnsHandshake():
                    posts.append(SnsConfirmation(self._outbound))
                case VerifyTokenHandshake():
                    gets.append(VerifyToken(rule, self._secrets(config, rule.secret)))
                case CrcHandshake() if key := self._key(config):
                    gets.append(Crc(rule, key))
                case OriginHandshake():
                    origins.append(Origin.of(rule))
        return Handshakes(tuple(posts), tuple(gets), tuple(origins))

    def _verifier(self, config: SourceConfig, auth: Auth) -> Verifier | None:
        secrets, variable = self._secrets(config, auth.secret), variable_of(config, auth.secret)
        if not secrets:
            return None
        match auth:
            case HmacAuth():
                return HmacVerifier(auth, secrets, variable)
            case Ed25519Auth():
                return Ed25519Verifier(auth, secrets, variable)
            case SnsAuth():
                return SnsVerifier(auth, secrets, self._certificates)
            case TokenAuth():
                return TokenVerifier(auth, secrets)
            case BasicAuth():
                return BasicVerifier(secrets)
            case ClientCertAuth():
                return self._client_cert(config, auth, secrets)
        return None

    def _client_cert(self, config: SourceConfig, auth: ClientCertAuth, names: Sequence[bytes]) -> Verifier:
        proxies = self._secrets(config, PROXY)
        if not proxies:
            raise FatalError(f"{variable_of(config, PROXY)}: the secret of the proxy is missing")
        return ClientCertVerifier(auth, names, proxies)

    def _key(self, config: SourceConfig) -> bytes:
        """The key that the source signs with first; none is empty."""
        for auth in config.auth:
            if isinstance(auth, HmacAuth) and (secrets := self._secrets(config, auth.secret)):
                return hmac_keys(auth, secrets, variable_of(config, auth.secret))[0]
        return b""

    def _secrets(self, config: SourceConfig, suffix: str | None) -> tuple[bytes, ...]:
        return webhook_secrets(_name(config, suffix), self._environ)


def variable_of(config: SourceConfig, suffix: str | None) -> str:
    """The variable that holds the source's secrets of this kind."""
    return secret_variable(_name(config, suffix))


def variables(config: SourceConfig) -> dict[str, str]:
    """All variables that the source reads, each with the kind of what it holds; the first is enough."""
    found: dict[str, str] = {}
    for auth in config.auth:
        if auth.scheme != "none":
            found.setdefault(variable_of(config, auth.secret), auth.scheme)
        if isinstance(auth, ClientCertAuth):
            found[variable_of(config, PROXY)] = PROXY
    for rule in config.handshakes:
        if isinstance(rule, VerifyTokenHandshake):
            found[variable_of(config, rule.secret)] = "verify token"
    return found


def _name(config: SourceConfig, suffix: str | None) -> str:
    return f"{config.name}-{suffix}" if suffix else config.name
