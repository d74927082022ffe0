"""The schema registry, through the Confluent REST API that Apicurio, Redpanda and Confluent all serve.

Our own schemas are looked up, or registered, once at start (``load``); writers' schemas by id are fetched when a record needs them
(``fetch``). Both are kept for good, since an id never changes its meaning. So the codec, which does no I/O, finds everything
in memory, and a registry that goes away later stops nothing but first sights of new writers.

A subject that would take any schema (rule NONE, which is Apicurio's default) gets BACKWARD; an operator's other rule stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

import httpx2
import orjson

from headrace.messages.catalog import BY_TOPIC, message_on
from headrace.messages.codec import AVRO_FORMS, UnknownSchema, subject
from headrace.messages.errors import DependencyUnavailable, FatalError, UndecodableMessage
from headrace.settings import MeshSettings

COMPATIBILITY: Final = "BACKWARD"
_JSON_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_TIMEOUT_S: Final = 5.0
_UNAVAILABLE: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SUBJECTS: Final = {topic: subject(model) for topic, model in BY_TOPIC.items() if model in AVRO_FORMS}


class Registry:
    """A client of one schema registry: bare calls, without memory. Use as an async context manager, or ``close`` it.

    Every call raises ``DependencyUnavailable`` while the registry can't be reached or is overloaded, and ``FatalError`` when it
    refuses (credentials, an incompatible schema): an operator has to look.
    """

    def __init__(self, settings: MeshSettings) -> None:
        secret = settings.schema_registry_auth
        user, _, password = secret.get_secret_value().partition(":") if secret else ("", "", "")
        self._http = httpx2.AsyncClient(
            base_url=settings.schema_registry_url.rstrip("/") + "/",
            auth=(user, password) if secret else None,
            headers={"accept": _JSON_TYPE, "content-type": _JSON_TYPE},
            timeout=_TIMEOUT_S,
            trust_env=False,  # a registry is inside; a proxy for the outside must not see it
        )

    async def __aenter__(self) -> Registry:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def lookup(self, subject: str, schema: dict[str, Any]) -> int | None:
        """Id of ``schema`` under ``subject``, or None if it is not registered there."""
        answer = await self._call("POST", f"subjects/{subject}", _body(schema), absent=(404,))
        return None if answer is None else int(answer["id"])

    async def register(self, subject: str, schema: dict[str, Any]) -> int:
        """Id of ``schema`` as a version of ``subject``; the same schema gets the same id again."""
        answer = await self._call("POST", f"subjects/{subject}/versions", _body(schema))
        return int(answer["id"])

    async def is_compatible(self, subject: str, schema: dict[str, Any]) -> bool:
        """Whether the registry would take ``schema`` as the next version; a subject without versions takes any."""
        path = f"compatibility/subjects/{subject}/versions/latest"
        answer = await self._call("POST", path, _body(schema), absent=(404,))
        return answer is None or bool(answer["is_compatible"])

    async def ensure_rule(self, subject: str) -> None:
        """Give ``subject`` the rule ``COMPATIBILITY`` unless a rule holds for it already."""
        rule = await self._call("GET", f"config/{subject}", None, absent=(404,))
        if rule is None or rule.get("compatibilityLevel") == "NONE":
            body = orjson.dumps({"compatibility": COMPATIBILITY})
            await self._call("PUT", f"config/{subject}", body, absent=(409,))  # another process was just faster

    async def by_id(self, schema_id: int) -> dict[str, Any] | None:
        """The Avro schema of ``schema_id``, or None if the registry does not know it."""
        answer = await self._call("GET", f"schemas/ids/{schema_id}", None, absent=(404,))
        if answer is None or answer.get("schemaType", "AVRO") != "AVRO":
            return None
        schema = orjson.loads(answer["schema"])
        return schema if isinstance(schema, dict) else None

    async def _call(self, method: str, path: str, body: bytes | None, absent: Collection[int] = ()) -> Any:
        try:
            response = await self._http.request(method, path, content=body)
        except httpx2.HTTPError as error:
            raise DependencyUnavailable(f"schema registry: {type(error).__name__}") from None
        if response.status_code in absent:
            return None
        if response.status_code in _UNAVAILABLE:
            raise DependencyUnavailable(f"schema registry: status {response.status_code}")
        if response.is_error:
            raise FatalError(f"schema registry: {method} {path}: status {response.status_code} {_reason(response)}")
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            raise DependencyUnavailable("schema registry: the answer is not JSON") from None


class Schemas:
    """The ids and schemas that a codec needs (``messages.codec.SchemaIds``), filled from a registry."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._registry: Registry | None = None
        self._ids: dict[str, int] = {}
        self._schemas: dict[int, dict[str, Any]] = {}
        self._fetching = asyncio.Lock()

    async def load(self, topics: Collection[str] | None = None) -> None:
        """Look up, or register, our schemas of those Avro topics (default: all). May be called again after a failure.

        Raises:
            DependencyUnavailable: the registry is away.
            FatalError: it refuses our schema as incompatible with the registered ones.
        """
        wanted = _SUBJECTS if topics is None else {message.TOPIC for topic in topics if (message := message_on(topic))}
        for topic, name in _SUBJECTS.items():
            if name not in self._ids and topic in wanted:
                schema = AVRO_FORMS[BY_TOPIC[topic]].schema
                schema_id = await self._resolve(self._settings.physical_topic(name), schema)
                self._ids[name] = schema_id
                self._schemas[schema_id] = schema

    async def fetch(self, schema_id: int) -> None:
        """Make ``schema(schema_id)`` known.

        Raises:
            DependencyUnavailable: the registry is away.
            UndecodableMessage: ``unknown_schema``, the registry has no Avro schema of that id.
        """
        async with self._fetching:
            if schema_id in self._schemas:
                return
            schema = await self._client().by_id(schema_id)
            if schema is None:
                raise UndecodableMessage(f"the registry has no Avro schema {schema_id}", cause="unknown_schema")
            self._schemas[schema_id] = schema

    async def close(self) -> None:
        if self._registry is not None:
            await self._registry.close()
            self._registry = None

    def id_for(self, subject: str) -> int:
        """Raises ``DependencyUnavailable`` before ``load`` has resolved it."""
        try:
            return self._ids[subject]
        except KeyError:
            raise DependencyUnavailable(f"the schema id of {subject} is not resolved yet") from None

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Raises ``UnknownSchema`` until ``fetch`` has got it."""
        try:
            return self._schemas[schema_id]
        except KeyError:
            raise UnknownSchema(schema_id) from None

    async def _resolve(self, subject: str, schema: dict[str, Any]) -> int:
        registry = self._client()
        schema_id = await registry.lookup(subject, schema)
        if schema_id is None:
            schema_id = await registry.register(subject, schema)
        await registry.ensure_rule(subject)
        return schema_id

    def _client(self) -> Registry:
        if self._registry is None:
            self._registry = Registry(self._settings)
        return self._registry


def _body(schema: dict[str, Any]) -> bytes:
    return orjson.dumps({"schemaType": "AVRO", "schema": orjson.dumps(schema).decode()})


def _reason(response: httpx2.Response) -> str:
    """What the registry says, in bounds; it quotes schemas, never records."""
    return response.text[:300].replace("\n", " ")
