"""The gateway's only requests to the outside: a GET of an address that a verified rule allows, through the guard of ``egress``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from headrace.messages.errors import DependencyUnavailable
from headrace.observe.logging import get_logger

if TYPE_CHECKING:  # the HTTP client is a slow import, and few gateways call anyone
    from headrace.egress import GuardedClient

log = get_logger(__name__)
TIMEOUT_S: Final = 3.0  # a sender waits meanwhile


class Outbound(Protocol):
    async def get(self, url: str, host: str) -> tuple[int, bytes]:
        """Status and body of ``url``, whose host must be ``host``. Raises ``DependencyUnavailable``."""
        ...


class GuardedOutbound:
    """Over one guarded client, which is made when it is first needed with the settings ``HEADRACE_EGRESS_*``."""

    def __init__(self, client: GuardedClient | None = None) -> None:
        self._client = client

    async def get(self, url: str, host: str) -> tuple[int, bytes]:
        from headrace.egress import EgressDenied, EgressFailed

        try:
            answer = await self._guarded().request("GET", url, domains=[host], timeout_s=TIMEOUT_S)
        except (EgressDenied, EgressFailed) as error:  # its text names the host, never the rest of the URL
            log.warning("outbound_failed", host=host, reason=str(error))
            raise DependencyUnavailable(f"{host} could not be asked") from None
        return answer.status, answer.body

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _guarded(self) -> GuardedClient:
        if self._client is None:
            from headrace.egress import EgressSettings, GuardedClient

            settings = EgressSettings()
            self._client = GuardedClient(settings.policy(), ca_file=settings.ca_file)
        return self._client
