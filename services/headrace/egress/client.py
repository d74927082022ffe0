"""``GuardedClient``: one request in, one bounded response out, everything on the way checked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpcore2
import httpx2
import orjson

from headrace.egress.backend import GuardedBackend, Resolver, system_resolver
from headrace.egress.body import ACCEPT_ENCODING, read_bounded, too_large
from headrace.egress.domains import require_allowed
from headrace.egress.errors import EgressDenied, EgressFailed, shown
from headrace.egress.policy import EgressPolicy
from headrace.egress.urls import Params, Target, parse_url
from headrace.observe import tracing

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FOLLOWING: Final = frozenset({"GET", "HEAD"})  # redirects; of other methods it would be unclear what was done where
_MAX_CONNECTIONS: Final = 200
_KEEP_ALIVE_S: Final = 15.0  # a pooled connection keeps its checked address no longer than this when idle


@dataclass(frozen=True, slots=True)
class GuardedResponse:
    """``headers`` are lower case, the last of a repeated one wins; ``body`` is decompressed and whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    host: str = ""


class GuardedClient:
    """An HTTP client for untrusted URLs. Safe for many tasks at once; close it, or use it as a context manager."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        ca_file: Path | None = None,
        resolver: Resolver = system_resolver,
        dial: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._policy = policy
        trust = (
            ssl.create_default_context(cafile=str(ca_file)) if ca_file else httpx2.create_ssl_context(trust_env=False)
        )
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=trust,
            max_connections=_MAX_CONNECTIONS,
            keepalive_expiry=_KEEP_ALIVE_S,
            network_backend=GuardedBackend(policy, resolver, dial),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._pool.aclose()

    async def request(
        self,
        method: str,
        url: str,
        *,
        domains: Sequence[str],
        params: Params | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> GuardedResponse:
        """``params`` join the query of ``url``. The body is ``json``, or ``content`` with its type in ``headers``.

        ``domains`` is the caller's allow-list. Redirects of GET and HEAD are followed within the same rules, without
        the caller's headers where they lead to another origin; of other methods they are refused. Any HTTP status is a
        response. Raises ``EgressDenied`` or ``EgressFailed``.
        """
        if method not in _METHODS:
            raise EgressDenied("method", "this method is not allowed")
        target = parse_url(url, params)
        content = orjson.dumps(json) if json is not None else content
        limit = min(timeout_s or self._policy.timeout_s, self._policy.timeout_s)
        try:
            async with asyncio.timeout(limit):
                return await self._follow(method, target, domains, dict(headers or {}), content)
        except TimeoutError:
            raise EgressFailed("timeout", f"no whole response from {shown(target.host)} within {limit:g} s") from None

    async def _follow(
        self, method: str, target: Target, domains: Sequence[str], headers: dict[str, str], content: bytes | None
    ) -> GuardedResponse:
        for hop in range(self._policy.max_redirects + 1):
            self._check(target, domains)
            with _span(method, target, hop) as span:
                response = await self._send(method, target, headers, content)
                tracing.describe(span, {"http.response.status_code": response.status})
                if response.status >= 400:
                    tracing.fail(span, str(response.status))
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or location is None:
                return response
            following = _redirect(method, target, location)
            if following.origin != target.origin:
                headers = {}  # whatever the caller told one origin is not the next one's business
            target = following
        raise EgressFailed("too_many_redirects", f"{shown(target.host)} redirects too often")

    def _check(self, target: Target, domains: Sequence[str]) -> None:
        require_allowed(target.host, domains)
        if not self._policy.allows_port(target.host, target.port):
            raise EgressDenied("port", f"port {target.port} is not allowed")

    async def _send(
        self, method: str, target: Target, headers: Mapping[str, str], content: bytes | None
    ) -> GuardedResponse:
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        try:
            async with self._pool.stream(
                method, url, headers=_headers(target, headers, content), content=content, extensions=self._extensions()
            ) as response:
                return await self._read(response, target)
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
            raise _failure(error, target.host) from None

    async def _read(self, response: httpcore2.Response, target: Target) -> GuardedResponse:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        limit = self._policy.max_body_bytes
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise too_large(limit)
        body = await read_bounded(response.aiter_stream(), headers.get("content-encoding", ""), limit)
        return GuardedResponse(response.status, headers, body, target.host)

    def _extensions(self) -> dict[str, Any]:
        whole = self._policy.timeout_s
        return {"timeout": {"connect": self._policy.connect_timeout_s, "read": whole, "write": whole, "pool": whole}}


def _span(method: str, target: Target, hop: int) -> AbstractContextManager[tracing.Span]:
    """One request on the wire. By host alone: paths, queries and headers may hold secrets. No trace id goes to strangers."""
    facts = {
        "http.request.method": method,
        "server.address": target.host,
        "server.port": target.port,
        "url.scheme": target.scheme,
        "http.request.resend_count": hop or None,
    }
    return tracing.span(method, tracing.SpanKind.CLIENT, facts, error_type=_error_type)


def _error_type(error: Exception) -> str:
    match error:
        case EgressDenied():
            return error.reason
        case EgressFailed():
            return error.kind
    return tracing.class_name(error)


def _headers(target: Target, extra: Mapping[str, str], content: bytes | None) -> list[tuple[str, str]]:
    headers = {
        "host": target.authority,
        "accept": "application/json, */*;q=0.1",
        "accept-encoding": ACCEPT_ENCODING,
        "user-agent": "headrace",
    }
    if content is not None:
        headers["content-type"] = "application/json"
    return list((headers | {name.lower(): value for name, value in extra.items()}).items())


def _redirect(method: str, target: Target, location: str) -> Target:
    if method not in _FOLLOWING:
        raise EgressDenied("redirect", f"{shown(target.host)} redirects a {method}, which is not followed")
    following = target.join(location)
    if target.scheme == "https" and following.scheme != "https":
        raise EgressDenied("redirect", f"{shown(target.host)} redirects from https to http")
    return following


def _failure(error: Exception, host: str) -> EgressFailed:
    """The text is ours: what a lower layer says may quote the URL."""
    if isinstance(error, httpcore2.TimeoutException):
        return EgressFailed("timeout", f"{shown(host)} did not answer in time")
    if _is_tls(error):
        return EgressFailed("tls", f"no trustworthy TLS connection to {shown(host)}")
    if isinstance(error, httpcore2.RemoteProtocolError) and "disconnected" not in str(error):
        return EgressFailed("bad_response", f"{shown(host)} does not speak HTTP correctly")
    return EgressFailed("connection", f"the connection to {shown(host)} failed")


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
