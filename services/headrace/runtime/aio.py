"""librdkafka's security options, as aiokafka wants them: one setting serves both clients."""

from __future__ import annotations

from typing import Any, Final

from aiokafka.helpers import create_ssl_context  # type: ignore[import-untyped]

from headrace.messages.errors import FatalError
from headrace.settings import MeshSettings

_DIRECT: Final = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
}
_TLS: Final = {
    "ssl.ca.location": "cafile",
    "ssl.certificate.location": "certfile",
    "ssl.key.location": "keyfile",
    "ssl.key.password": "password",
}


def options(settings: MeshSettings) -> dict[str, Any]:
    """Arguments of any aiokafka client. Tuning options of librdkafka are left out.

    Raises:
        FatalError: a security option that has no counterpart, rather than connecting less safely than was asked.
    """
    given = settings.kafka_options
    unknown = [name for name in given if name.startswith(("sasl.", "ssl.", "security.")) and name not in _DIRECT | _TLS]
    if unknown:
        raise FatalError(f"kafka_options that aiokafka has no counterpart for: {', '.join(sorted(unknown))}")
    result: dict[str, Any] = {_DIRECT[name]: value for name, value in given.items() if name in _DIRECT}
    if "SSL" in given.get("security.protocol", "").upper():
        tls = {_TLS[name]: value for name, value in given.items() if name in _TLS}
        result["ssl_context"] = create_ssl_context(**tls)
    if "security_protocol" in result:
        result["security_protocol"] = result["security_protocol"].upper()
    return result | {"bootstrap_servers": settings.kafka_bootstrap_servers}
