"""A callback tool: its service is told of the call, and of where to report the outcome; until it does, the run waits.

The service is called through the guard, and only on a host that the agent may call. The token opens the callback of this call and
nothing else. It is in the headers of that one request: not in arguments, which models write and records keep, and an answer that
repeats it has it struck out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from headrace.auth import callbacks
from headrace.auth.settings import AuthSettings
from headrace.auth_profiles import AuthProfile
from headrace.egress import EgressError, GuardedClient, GuardedResponse
from headrace.messages import ids
from headrace.messages.base import JsonObject
from headrace.messages.errors import FatalError
from headrace.tools.api import Asked, CallParked, Tool, ToolContext, ToolFailure, ToolOutput
from headrace.tools.credentials import Credentials, Proof
from headrace.tools.http_answers import IDEMPOTENCY_KEY, not_sent, refused, without_secrets
from headrace.toolspecs import Spec
from headrace.toolspecs.callback_tools import CallbackTool, CallbackToolSettings, read_callback_tools
from headrace.toolspecs.spec import BadToolFile

URL: Final = "headrace-callback-url"
TOKEN: Final = "headrace-callback-token"  # noqa: S105 (the name of a header)
_HAND_OVER_S: Final = 30.0  # its outcome may come much later


class Desk:
    """Where outcomes are reported: the gateway at ``url``, whose callbacks ``secret`` opens."""

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url.rstrip("/")
        self._secret = secret

    def proof(self, asked: Asked) -> Proof:
        """The headers that tell a service where and how to report this call. The same whenever the call is made again."""
        message, run = asked.message, asked.message.run
        wait_id = ids.pending_id(run.tenant, run.run_id, message.progress.step, message.round, asked.call.call_id)
        token = callbacks.token(self._secret, run.tenant, wait_id)
        return Proof({URL: f"{self._url}/v1/waits/{wait_id}/callback", TOKEN: token}, secrets=(token,))


class CalledBack:
    """A ``Tool`` of the operator's file."""

    def __init__(
        self, name: str, tool: CallbackTool, client: GuardedClient, credentials: Credentials, desk: Desk
    ) -> None:
        self._spec = tool.spec(name)
        self._tool = tool
        self._client = client
        self._credentials = credentials
        self._desk = desk

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def timeout_s(self) -> float:
        return _HAND_OVER_S

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        """Raises ``CallParked`` once the service has taken the call, or ``ToolFailure``: ``http_status``, ``egress_denied``,
        ``auth_profile``, ...
        """
        if context.asked is None:
            raise ToolFailure("not_allowed", "only a run can wait for a callback")
        told = self._desk.proof(context.asked)
        try:
            answer, proof = await self._sent(arguments, told, context)
        except EgressError as error:
            raise not_sent(error) from None
        secrets = Proof(secrets=(*told.secrets, *proof.secrets))
        if failure := refused(answer, await asyncio.to_thread(without_secrets, answer.body, secrets)):
            raise failure
        raise CallParked("callback", context.now_ms + round(self._tool.timeout_s * 1_000))

    async def _sent(self, arguments: JsonObject, told: Proof, context: ToolContext) -> tuple[GuardedResponse, Proof]:
        """Once more where the service refuses a token that may be too old."""
        answer, proof = await self._tried(arguments, told, context)
        profile = self._tool.auth_profile
        if answer.status == 401 and profile is not None and self._credentials.renewable(profile):
            return await self._tried(arguments, told, context)
        return answer, proof

    async def _tried(self, arguments: JsonObject, told: Proof, context: ToolContext) -> tuple[GuardedResponse, Proof]:
        profile, url = self._tool.auth_profile, self._tool.url
        proof = await self._credentials.proof(profile, context.agent, url) if profile else Proof()
        answer = await self._client.request(
            "POST",
            url + (("&" if "?" in url else "?") + proof.query if proof.query else ""),
            domains=context.domains,
            json=arguments,
            headers={**proof.headers, **told.headers, IDEMPOTENCY_KEY: context.idempotency_key},
            timeout_s=context.remaining_s,
        )
        return answer, proof


def callback_tools(client: GuardedClient, profiles: Mapping[str, AuthProfile]) -> list[Tool]:
    """Those of this process's settings. Raises ``FatalError``."""
    settings, secrets = CallbackToolSettings(), AuthSettings().callback_secrets()
    try:
        found = read_callback_tools(settings.tools)
    except BadToolFile as error:
        raise FatalError(str(error)) from None
    if not found:
        return []
    if settings.url is None or not secrets:
        raise FatalError(
            f"the callback tools of {settings.tools} need HEADRACE_CALLBACK_URL, where their services reach the gateway, and "
            "HEADRACE_CALLBACK_SECRET (openssl rand -hex 32), the same as the gateway's"
        )
    desk = Desk(settings.url, secrets[0])
    credentials = Credentials(profiles, client, time.monotonic)
    return [CalledBack(name, tool, client, credentials, desk) for name, tool in found.items()]
