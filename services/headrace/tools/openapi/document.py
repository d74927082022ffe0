"""One OpenAPI description: read within bounds, checked, and its operations by their ids.

``openapi_pydantic`` checks its shape against OpenAPI 3.0 or 3.1 as its ``openapi`` field says. What is kept is the plain value,
since schemas go on to a JSON Schema validator as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

import openapi_pydantic
from pydantic import ValidationError

from headrace.messages import strict_json
from headrace.messages.base import JsonObject
from headrace.messages.errors import BadMessage
from headrace.registry.yaml12 import Document, YamlProblem
from headrace.tools.openapi.errors import BadParams, SpecProblem

METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
MAX_PARTS: Final = 500_000  # of a YAML description, aliases counted as often as they repeat
_MAX_LINKS: Final = 10  # references that lead to references
_SUGGESTED: Final = 8


class ApiDocument:
    """A checked description. ``url`` is where it came from, which relative server addresses are relative to."""

    def __init__(self, url: str, root: JsonObject) -> None:
        """Raises ``SpecProblem``."""
        _require_local(root)
        _require_openapi(root)
        self.url = url
        self.root = root
        self.v30 = str(root["openapi"]).startswith("3.0")
        self._operations = dict(self._found())

    @property
    def operation_ids(self) -> list[str]:
        return list(self._operations)

    def find(self, operation_id: str) -> tuple[str, str, JsonObject, JsonObject]:
        """Method, path, path item and operation. Raises ``BadParams`` that names the most similar ids."""
        found = self._operations.get(operation_id)
        if found is None:
            raise BadParams(f"there is no operation {operation_id[:100]!r}; {self._similar(operation_id)}")
        return found

    def resolve(self, node: Any) -> JsonObject:
        """``node``, or what it refers to. Raises ``SpecProblem`` for a reference that leads nowhere, or in a circle."""
        for _ in range(_MAX_LINKS):
            if not isinstance(node, dict):
                raise SpecProblem("a part of the description is no object where it must be one")
            ref = node.get("$ref")
            if not isinstance(ref, str):
                return node
            node = self.at(ref)
        raise SpecProblem("a reference of the description leads in a circle")

    def at(self, ref: str) -> Any:
        """The part that ``ref`` (``#/...``) points to."""
        node: Any = self.root
        for part in ref.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isascii() and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                raise SpecProblem(f"the reference {ref[:100]!r} leads nowhere")
        return node

    def _found(self) -> Iterator[tuple[str, tuple[str, str, JsonObject, JsonObject]]]:
        seen: set[str] = set()
        for path, value in (self.root.get("paths") or {}).items():
            item = self.resolve(value)
            for method in METHODS:
                operation = item.get(method)
                if not isinstance(operation, dict) or not isinstance(name := operation.get("operationId"), str):
                    continue
                if name in seen:
                    raise SpecProblem(f"the operation id {name[:100]!r} stands for two operations")
                seen.add(name)
                yield name, (method, path, item, operation)

    def _similar(self, operation_id: str) -> str:
        words = [part for part in operation_id.lower().replace("/", "-").replace("_", "-").split("-") if len(part) > 2]
        ids = self.operation_ids
        close = difflib.get_close_matches(operation_id, ids, n=_SUGGESTED, cutoff=0.5)
        close += [name for name in ids if name not in close and any(word in name.lower() for word in words)]
        shown = close[:_SUGGESTED] or ids[:_SUGGESTED]
        return f"of {len(ids)} there are {', '.join(name[:100] for name in shown)}"


def read(url: str, data: bytes) -> ApiDocument:
    """The description that ``data`` (JSON or YAML) holds. Takes up to seconds for a large one: call it in a thread.

    Raises ``SpecProblem``.
    """
    root = _json(data) if data.lstrip()[:1] == b"{" else _yaml(data)
    if not isinstance(root, dict):
        raise SpecProblem("the description is no object")
    return ApiDocument(url, root)


def _json(data: bytes) -> Any:
    try:
        return strict_json.loads(data)
    except BadMessage as error:
        raise SpecProblem(f"the description can't be read: {error}") from None


def _yaml(data: bytes) -> Any:
    try:
        return Document(data.decode(), max_characters=len(data), max_parts=MAX_PARTS).value
    except UnicodeDecodeError:
        raise SpecProblem("the description is neither JSON nor YAML in UTF-8") from None
    except YamlProblem as problem:
        where = f" (line {problem.line})" if problem.line else ""
        raise SpecProblem(f"the description can't be read: {problem}{where}") from None


def _require_local(root: JsonObject) -> None:
    """Every reference stays within the document: another one would be fetched from wherever the author likes."""
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            ref = node.get("$ref")
            if isinstance(ref, str) and not ref.startswith("#/"):
                raise SpecProblem(f"the description refers to another document ({ref[:100]!r}), which is not fetched")
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _require_openapi(root: JsonObject) -> None:
    if "swagger" in root:
        raise SpecProblem("this is a description in Swagger 2.0: OpenAPI 3.0 and 3.1 are read")
    if not isinstance(root.get("openapi"), str):
        raise SpecProblem("this is no OpenAPI 3 description: it has no text field openapi")
    try:
        openapi_pydantic.parse_obj(root)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "/".join(str(part)[:64] for part in first["loc"])
        raise SpecProblem(f"not valid OpenAPI at /{where}: {first['msg'][:200]}") from None
