"""One operation, ready to be called: its parameters and body with their validators, and where it is served. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from urllib.parse import quote, urljoin

import jsonschema_rs
import orjson

from headrace.messages.base import JsonObject
from headrace.tools.openapi import styles
from headrace.tools.openapi.bodies import Content, Media, encode
from headrace.tools.openapi.document import ApiDocument
from headrace.tools.openapi.errors import BadParams, SpecProblem
from headrace.tools.openapi.schemas import validator

BODY: Final = "body"
_STYLES: Final = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_OURS: Final = frozenset(  # set by HTTP itself, by a credential, or by OpenAPI's own rules
    {"accept", "content-type", "authorization", "proxy-authorization", "host", "content-length", "connection", "cookie"}
    | {"transfer-encoding", "upgrade", "te", "trailer", "accept-encoding", "idempotency-key", "expect"}
)
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_MAX_PROBLEMS: Final = 5
_MAX_TEXT: Final = 300  # characters of one problem: it may quote the argument


@dataclass(frozen=True, slots=True)
class Parameter:
    """``key`` is its name in ``params``: the bare name unless another place has it too."""

    key: str
    name: str
    place: str
    required: bool
    style: str
    explode: bool
    reserved: bool
    as_json: bool
    check: jsonschema_rs.Validator


@dataclass(frozen=True, slots=True)
class Request:
    """What goes out, but for credentials. ``url`` has the query."""

    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    content: Content | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    server: str
    path: str
    parameters: tuple[Parameter, ...]
    media: Media | None
    body_required: bool

    def request(self, params: JsonObject) -> Request:
        """Raises ``BadParams``."""
        self._check_names(params)
        path, headers = self.path, {}
        query: list[styles.Pair] = []
        cookies: list[styles.Pair] = []
        for parameter in self.parameters:
            if (value := self._value(parameter, params)) is None:
                continue
            written = orjson.dumps(value).decode() if parameter.as_json else value
            match parameter.place:
                case "path":
                    segment = styles.path_segment(parameter.name, written, parameter.style, parameter.explode)
                    path = path.replace("{" + parameter.name + "}", segment)
                case "query":
                    query += styles.query_pairs(
                        parameter.name, written, parameter.style, parameter.explode, reserved=parameter.reserved
                    )
                case "cookie":
                    cookies += styles.query_pairs(parameter.name, written, parameter.style, parameter.explode)
                case _:
                    headers[parameter.name] = styles.header_value(parameter.name, written, parameter.explode)
        if cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies)
        text = "&".join(f"{name}={value}" for name, value in query)
        url = self.server + path + ("?" + text if text else "")
        return Request(self.method.upper(), url, headers, self._content(params.get(BODY)))

    def _check_names(self, params: JsonObject) -> None:
        known = [parameter.key for parameter in self.parameters] + ([BODY] if self.media else [])
        unknown = [name for name in params if name not in known]
        if unknown:
            has = f"it takes {', '.join(known)}" if known else "it takes none"
            raise BadParams(f"the operation has no parameter {unknown[0][:100]!r}: {has}")

    def _value(self, parameter: Parameter, params: JsonObject) -> Any:
        value = params.get(parameter.key)
        if value is None:
            if parameter.required:
                raise BadParams(f"the parameter {parameter.key} is required")
            return None
        require(parameter.check, value, parameter.key)
        return value

    def _content(self, body: Any) -> Content | None:
        if self.media is None or (body is None and not self.body_required):
            return None
        if body is None:
            raise BadParams("the request body is required, as body")
        require(self.media.check, body, BODY)
        return encode(self.media, body)


def require(check: jsonschema_rs.Validator, value: Any, name: str) -> None:
    """Raises ``BadParams`` that says where ``value`` breaks its schema."""
    if check.is_valid(value):
        return
    problems = []
    for error in islice(check.iter_errors(value), _MAX_PROBLEMS):
        where = "".join(f"/{part}" for part in error.instance_path)
        text = error.message if len(error.message) <= _MAX_TEXT else error.message[:_MAX_TEXT] + "..."
        problems.append(f"{name}{where}: {text}")
    raise BadParams("; ".join(problems))


def prepare(document: ApiDocument, operation_id: str) -> Operation:
    """Raises ``BadParams`` for an unknown id, ``SpecProblem`` for an operation that can't be called."""
    method, path, item, operation = document.find(operation_id)
    parameters = _parameters(document, item, operation)
    declared = {parameter.name for parameter in parameters if parameter.place == "path"}
    if declared != set(_PLACEHOLDER.findall(path)):
        raise SpecProblem("the operation's path and its path parameters don't agree")
    body = document.resolve(operation["requestBody"]) if operation.get("requestBody") else {}
    return Operation(
        method=method,
        server=_server(document, item, operation),
        path=quote(path, safe="/{}:@!$&'()*+,;=~%"),
        parameters=parameters,
        media=_media(document, body) if body else None,
        body_required=body.get("required") is True,
    )


def _parameters(document: ApiDocument, item: JsonObject, operation: JsonObject) -> tuple[Parameter, ...]:
    """Those of the operation and of its path; the operation's own replace the path's of the same name and place."""
    found: dict[tuple[str, str], JsonObject] = {}
    for node in [*(item.get("parameters") or ()), *(operation.get("parameters") or ())]:
        one = document.resolve(node)
        name, place = str(one.get("name", "")), str(one.get("in", ""))
        if place in _STYLES and not (place == "header" and name.lower() in _OURS):
            found[name, place] = one
    names = [name for name, _ in found]
    return tuple(
        _parameter(document, name if names.count(name) == 1 and name != BODY else f"{place}.{name}", name, place, one)
        for (name, place), one in found.items()
    )


def _parameter(document: ApiDocument, key: str, name: str, place: str, one: JsonObject) -> Parameter:
    style = str(one.get("style") or _STYLES[place])
    content = one.get("content")
    media: JsonObject = next(iter(content.values()), {}) if isinstance(content, dict) else {}
    return Parameter(
        key=key,
        name=name,
        place=place,
        required=one.get("required") is True or place == "path",
        style=style,
        explode=one["explode"] if isinstance(one.get("explode"), bool) else style == "form",
        reserved=one.get("allowReserved") is True,
        as_json=bool(content),
        check=validator(document, media.get("schema", True) if content else one.get("schema", True)),
    )


def _media(document: ApiDocument, body: JsonObject) -> Media:
    offered = {str(name): value for name, value in (body.get("content") or {}).items() if isinstance(value, dict)}
    chosen = Media.choose(list(offered))
    if chosen is None:
        raise SpecProblem(f"its request body is none that can be written: {', '.join(offered)[:200]}")
    media = offered[chosen]
    return Media(chosen, media.get("encoding") or {}, validator(document, media.get("schema", True)))


def _server(document: ApiDocument, item: JsonObject, operation: JsonObject) -> str:
    """The first server of the nearest list, with its variables' defaults: which one is not for a model to say."""
    for owner in (operation, item, document.root):
        servers = owner.get("servers")
        if isinstance(servers, list) and servers:
            server = servers[0]
            url = str(server.get("url", "/"))
            for name, variable in (server.get("variables") or {}).items():
                url = url.replace("{" + name + "}", str(variable.get("default", "")))
            return urljoin(document.url, url).rstrip("/").partition("?")[0]
    return urljoin(document.url, "/").rstrip("/")
