"""A description of the size and shape of large public ones: over a megabyte, hundreds of operations, schemas that refer to each
other in circles, shared parameters, examples, nullable unions, forms.
"""

from __future__ import annotations

from typing import Any

KINDS = 220
NOTE = "What the field is for, in the words that such descriptions use. " * 3


def _schema(index: int, kinds: int) -> dict[str, Any]:
    fields = {f"field_{k}": {"type": ["string", "null"], "description": NOTE, "examples": ["x"]} for k in range(10)}
    return {
        "type": "object",
        "description": NOTE,
        "required": ["id", "name"],
        "properties": {
            "id": {"type": "integer", "format": "int64", "readOnly": True},
            "name": {"type": "string", "maxLength": 100, "pattern": "^(?!-)[a-z-]+$"},
            "state": {"type": "string", "enum": ["open", "closed"]},
            "owner": {"anyOf": [{"$ref": "#/components/schemas/User"}, {"type": "null"}]},
            "next": {"$ref": f"#/components/schemas/Kind{(index + 1) % kinds}"},
        }
        | fields,
    }


def _paths(index: int) -> dict[str, Any]:
    ref = {"$ref": f"#/components/schemas/Kind{index}"}
    example = {"default": {"value": {"id": 1, "name": "n" * 600}}}
    ok = {"200": {"description": "ok", "content": {"application/json": {"schema": ref, "examples": example}}}}
    body = {"required": True, "content": {"application/json": {"schema": ref}}}
    labels = {
        "name": "labels",
        "in": "query",
        "explode": False,
        "schema": {"type": "array", "items": {"type": "string"}},
    }
    one = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    page = {"$ref": "#/components/parameters/page"}
    return {
        f"/kinds{index}": {
            "get": {"operationId": f"kind{index}/list", "summary": NOTE, "parameters": [page, labels], "responses": ok},
            "post": {"operationId": f"kind{index}/create", "summary": NOTE, "requestBody": body, "responses": ok},
        },
        f"/kinds{index}/{{id}}": {
            "parameters": [one],
            "get": {"operationId": f"kind{index}/get", "responses": ok},
            "patch": {"operationId": f"kind{index}/update", "requestBody": body, "responses": ok},
            "delete": {"operationId": f"kind{index}/delete", "responses": {"204": {"description": "gone"}}},
        },
    }


def big_spec(kinds: int = KINDS) -> dict[str, Any]:
    """Five operations for each of ``kinds``."""
    paths: dict[str, Any] = {}
    for index in range(kinds):
        paths |= _paths(index)
    user = {"type": "object", "properties": {"login": {"type": "string"}, "friends": {"type": "array"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "A large API", "version": "2026-11-01"},
        "servers": [{"url": "/v3"}],
        "paths": paths,
        "components": {
            "schemas": {f"Kind{index}": _schema(index, kinds) for index in range(kinds)} | {"User": user},
            "parameters": {"page": {"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}}},
        },
    }
