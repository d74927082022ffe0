"""From a description and ``params`` to a request, without a network."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from headrace.tools.openapi import document as documents
from headrace.tools.openapi.errors import BadParams, SpecProblem
from headrace.tools.openapi.operation import Request, prepare

FORM = "application/x-www-form-urlencoded"
LINKS = [b"%c: &%c [*%c,*%c,*%c,*%c]" % (c + 1, c + 1, c, c, c, c) for c in range(ord("a"), ord("n"))]
BOMB = b"\n".join([b"a: &a [x,x,x,x]", *LINKS])
URL = "https://api.example.org/specs/openapi.json"


def described(operation: dict[str, Any], *, path: str = "/things", version: str = "3.1.0", **root: Any) -> bytes:
    whole = {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "paths": {path: {"post": {"operationId": "do", "responses": {"200": {"description": "ok"}}} | operation}},
    }
    return orjson.dumps(whole | root)


def request(operation: dict[str, Any], params: dict[str, Any], **more: Any) -> Request:
    return prepare(documents.read(URL, described(operation, **more)), "do").request(params)


def parameter(place: str, schema: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    required = {"required": True} if place == "path" else {}
    return {"parameters": [{"name": "p", "in": place, "schema": schema or {}} | required | more]}


@pytest.mark.parametrize(
    ("place", "style", "explode", "value", "written"),
    [  # the table of OpenAPI 3.1, 4.8.12.2
        ("path", "simple", False, "blue", "/blue"),
        ("path", "simple", False, ["blue", "black"], "/blue,black"),
        ("path", "simple", True, {"R": 100, "G": 200}, "/R=100,G=200"),
        ("path", "label", False, ["blue", "black"], "/.blue,black"),
        ("path", "label", True, ["blue", "black"], "/.blue.black"),
        ("path", "matrix", False, ["blue", "black"], "/;p=blue,black"),
        ("path", "matrix", True, ["blue", "black"], "/;p=blue;p=black"),
        ("path", "matrix", True, {"R": 100, "G": 200}, "/;R=100;G=200"),
        ("query", "form", True, ["blue", "black"], "?p=blue&p=black"),
        ("query", "form", False, ["blue", "black"], "?p=blue,black"),
        ("query", "form", True, {"R": 100, "G": 200}, "?R=100&G=200"),
        ("query", "form", False, {"R": 100, "G": 200}, "?p=R,100,G,200"),
        ("query", "form", True, True, "?p=true"),
        ("query", "spaceDelimited", False, ["blue", "black"], "?p=blue%20black"),
        ("query", "pipeDelimited", False, ["blue", "black"], "?p=blue%7Cblack"),
        (
            "query",
            "deepObject",
            True,
            {"R": 100, "x": {"y": [1]}},
            "?p%5BR%5D=100&p%5Bx%5D%5By%5D%5B0%5D=1",
        ),
        ("header", "simple", False, ["blue", "black"], "blue,black"),
        ("header", "simple", True, {"R": 100, "G": 200}, "R=100,G=200"),
        ("cookie", "form", False, "blue", "p=blue"),
    ],
)
def test_styles(place: str, style: str, explode: bool, value: Any, written: str) -> None:
    path = "/things/{p}" if place == "path" else "/things"
    made = request(parameter(place, style=style, explode=explode), {"p": value}, path=path)
    rest = made.url.removeprefix("https://api.example.org/things")
    found = {"header": made.headers.get("p"), "cookie": made.headers.get("cookie")}.get(place, rest)
    assert found == written


@examples(max_examples=60)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_no_value_leaves_its_place(segment: str, value: str) -> None:
    """Whatever is put in comes back out of the URL, as that one segment and that one parameter, or it is refused."""
    operation = {
        "parameters": [
            {"name": "s", "in": "path", "required": True, "schema": {}},
            {"name": "q", "in": "query", "schema": {}},
        ]
    }
    try:
        made = request(operation, {"s": segment, "q": value}, path="/a/{s}/z")
    except (BadParams, UnicodeEncodeError):
        return
    url = urlsplit(made.url)
    before, found, after = url.path.removeprefix("/").split("/")
    assert (url.netloc, before, unquote(found), after) == ("api.example.org", "a", segment, "z")
    assert parse_qsl(url.query, keep_blank_values=True) == [("q", value)]


@pytest.mark.parametrize("value", ["..", ".", "", "../admin", "a/../../admin", "..\\x", ["ok", ".."]])
def test_a_path_parameter_leads_nowhere_else(value: Any) -> None:
    with pytest.raises(BadParams, match="path parameter"):
        request(parameter("path"), {"p": value}, path="/things/{p}")


@pytest.mark.parametrize(
    ("content", "body", "type_", "data"),
    [
        ("application/json", {"a": [1]}, "application/json", b'{"a":[1]}'),
        ("application/merge-patch+json", {"a": 1}, "application/merge-patch+json", b'{"a":1}'),
        (
            "application/x-www-form-urlencoded",
            {"a": "x y", "b": [1, 2], "c": {"d": 1}},
            "application/x-www-form-urlencoded",
            b"a=x%20y&b=1&b=2&c=%7B%22d%22%3A1%7D",
        ),
        ("text/plain", "hello", "text/plain; charset=utf-8", b"hello"),
        ("*/*", [1], "application/json", b"[1]"),
    ],
)
def test_bodies(content: str, body: Any, type_: str, data: bytes) -> None:
    made = request({"requestBody": {"content": {content: {"schema": {}}}}}, {"body": body})
    assert made.content == (data, type_)


def test_a_nested_form_field_is_written_as_its_encoding_says() -> None:
    media = {"schema": {}, "encoding": {"card": {"style": "deepObject"}}}
    made = request(
        {"requestBody": {"content": {"application/x-www-form-urlencoded": media}}},
        {"body": {"card": {"exp": {"y": 30}}}},
    )
    assert made.content is not None
    assert made.content.data == b"card%5Bexp%5D%5By%5D=30"


def test_a_multipart_form() -> None:
    operation = {"requestBody": {"content": {"multipart/form-data": {"schema": {}}}}}
    made = request(operation, {"body": {"a": "x", "b": {"c": 1}}})
    assert made.content is not None
    boundary = made.content.type.partition("boundary=")[2]
    parts = made.content.data.split(b"--" + boundary.encode())
    assert parts[1] == b'\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    assert parts[2].endswith(b'Content-Type: application/json\r\n\r\n{"c":1}\r\n')
    assert parts[3] == b"--\r\n"
    assert request(operation, {"body": {"a": "x", "b": {"c": 1}}}).content == made.content
    with pytest.raises(BadParams, match="can't be written"):
        request(operation, {"body": {'a"; filename="x': "1"}})


@pytest.mark.parametrize(
    ("operation", "params", "said"),
    [
        (parameter("query", {"type": "integer"}), {"p": "one"}, 'p: "one" is not of type "integer"'),
        (parameter("query", required=True), {}, "the parameter p is required"),
        (parameter("query"), {"q": 1}, "no parameter 'q': it takes p"),
        ({}, {"q": 1}, "it takes none"),
        (parameter("header"), {"p": "a\r\nx: y"}, "printable ASCII"),
        ({"requestBody": {"required": True, "content": {"application/json": {}}}}, {}, "the request body is required"),
        (
            {"requestBody": {"content": {"application/json": {"schema": {"required": ["a"]}}}}},
            {"body": {}},
            'body: "a" is a required property',
        ),
        (parameter("query"), {"p": [[1]]}, "can't write"),
    ],
)
def test_wrong_params_are_explained(operation: dict[str, Any], params: dict[str, Any], said: str) -> None:
    with pytest.raises(BadParams, match=said):
        request(operation, params)


def test_one_name_in_two_places() -> None:
    operation = {
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {}},
            {"name": "id", "in": "query", "schema": {}},
            {"name": "body", "in": "query", "schema": {}},
        ],
        "requestBody": {"content": {"application/json": {}}},
    }
    params = {"path.id": 1, "query.id": 2, "query.body": 3, "body": {"x": 4}}
    made = request(operation, params, path="/things/{id}")
    assert made.url == "https://api.example.org/things/1?id=2&body=3"
    assert made.content is not None
    assert made.content.data == b'{"x":4}'


def test_headers_that_are_not_a_parameters_to_set() -> None:
    headers = [{"name": name, "in": "header", "schema": {}} for name in ("Authorization", "Host", "Cookie", "X-Mine")]
    with pytest.raises(BadParams, match="it takes X-Mine"):
        request({"parameters": headers}, {"Authorization": "Bearer x"})


@pytest.mark.parametrize(
    ("servers", "url"),
    [
        ([], "https://api.example.org/things"),
        ([{"url": "../v2/"}], "https://api.example.org/v2/things"),
        (
            [{"url": "https://{region}.example.net/v1", "variables": {"region": {"default": "eu"}}}],
            "https://eu.example.net/v1/things",
        ),
    ],
)
def test_servers(servers: list[Any], url: str) -> None:
    assert request({}, {}, servers=servers).url == url


def test_openapi_30_says_null_and_bounds_its_own_way() -> None:
    schema = {"type": "integer", "nullable": True, "minimum": 0, "exclusiveMinimum": True}
    operation = {"requestBody": {"content": {"application/json": {"schema": {"properties": {"a": schema}}}}}}
    assert request(operation, {"body": {"a": None}}, version="3.0.3").content is not None
    for bad in (0, "x"):
        with pytest.raises(BadParams, match="body/a"):
            request(operation, {"body": {"a": bad}}, version="3.0.3")


def test_a_schema_that_refers_to_itself() -> None:
    schemas = {
        "Node": {
            "type": "object",
            "required": ["id", "name"],
            "properties": {
                "id": {"readOnly": True},
                "name": {"type": "string"},
                "next": {"$ref": "#/components/schemas/Node"},
            },
        }
    }
    operation = {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}}
    body: dict[str, Any] = {"name": "a", "next": {"name": "b"}}
    assert request(operation, {"body": body}, components={"schemas": schemas}).content is not None
    body["next"]["name"] = 1
    with pytest.raises(BadParams, match="body/next/name"):
        request(operation, {"body": body}, components={"schemas": schemas})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html>", "not|no object"),
        (b"[1]", "no object"),
        (b'{"swagger": "2.0"}', "Swagger 2.0: OpenAPI 3.0 and 3.1 are read"),
        (b'{"info": {}}', "no OpenAPI 3"),
        (b'{"openapi": "3.1.0"}', "not valid OpenAPI"),
        (b'{"openapi": "3.1.0", "openapi": "3.0.0"}', "duplicate"),
        (described({"operationId": 7}), "not valid OpenAPI"),
        (described(parameter("query", {"$ref": "https://evil.example/x.json"})), "another document"),
        (described(parameter("query", {"$ref": "file:///etc/passwd"})), "another document"),
        (described({"requestBody": {"$ref": "other.yaml#/x"}}), "another document"),
        (b"openapi: &a [*a]", "parts|deep|no OpenAPI"),
        (
            b"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\n"
            + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c]\n" % (c + 1, c + 1, c, c, c, c) for c in range(98, 112)),
            "parts",
        ),
    ],
)
def test_what_is_no_usable_description(data: bytes, said: str) -> None:
    with pytest.raises(SpecProblem, match=said):
        documents.read(URL, data)


@pytest.mark.parametrize(
    ("operation", "root", "said"),
    [
        ({"requestBody": {"$ref": "#/components/requestBodies/a"}}, {}, "leads nowhere"),
        (
            {"requestBody": {"$ref": "#/components/requestBodies/a"}},
            {"components": {"requestBodies": {"a": {"$ref": "#/components/requestBodies/a"}}}},
            "circle",
        ),
        (
            parameter("query", {"$ref": "#/components/schemas/a"}),
            {"components": {"schemas": {"a": {"$ref": "#/components/schemas/a"}}}},
            "circle",
        ),
        ({"requestBody": {"content": {"image/png": {}}}}, {}, "none that can be written: image/png"),
    ],
)
def test_operations_that_cannot_be_called(operation: dict[str, Any], root: dict[str, Any], said: str) -> None:
    document = documents.read(URL, described(operation, **root))
    with pytest.raises(SpecProblem, match=said):
        prepare(document, "do")


def test_paths_and_their_parameters_agree() -> None:
    with pytest.raises(SpecProblem, match="don't agree"):
        prepare(documents.read(URL, described({}, path="/a/{b}")), "do")


def test_yaml_means_what_it_says() -> None:
    text = yaml.safe_dump(orjson.loads(described(parameter("query", {"enum": ["no", "on"]}))))
    text = text.replace("'no'", "no").replace("'on'", "on")
    made = prepare(documents.read(URL, text.encode()), "do")
    assert made.request({"p": "no"}).url.endswith("?p=no")
