"""Builds the document: one small function for each kind of object in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml

from headrace import __version__
from headrace.asyncapi.schemas import components
from headrace.messages.catalog import message_on
from headrace.messages.codec import AVRO_FORMS, AVRO_TYPE, JSON_TYPE
from headrace.pipeline import PIPELINE, Stage
from headrace.topology import TopicSpec, load_all

Json = dict[str, Any]

_KAFKA_BINDING: Final = "0.5.0"
_AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
_DEAD_LETTER: Final = "DeadLetter"
_DESCRIPTION: Final = (
    "Events of an enterprise on their way to AI agents and back, as records on Kafka. Values are JSON with CloudEvents headers in "
    "binary mode, or Avro in the Confluent wire format. Within version 1 of a message only optional fields are added."
)


def document(*, topic_prefix: str = "") -> Json:
    """The AsyncAPI 3.0 document. ``topic_prefix`` is the cluster's (``MeshSettings.topic_prefix``)."""
    specs = load_all()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "headrace", "version": __version__, "description": _DESCRIPTION},
        "defaultContentType": JSON_TYPE,
        "channels": {name: _channel(spec, topic_prefix) for name, spec in specs.items()},
        "operations": {name: operation for stage in PIPELINE for name, operation in _operations(stage, topic_prefix)},
        "components": {
            "messages": {_message_name(name): _message(spec) for name, spec in specs.items()},
            "schemas": components(),
        },
    }


def to_yaml(content: Json) -> str:
    """``content`` as YAML, in the order in which it was built."""
    return yaml.dump(content, Dumper=_NoAliases, sort_keys=False, allow_unicode=True, width=120)


class _NoAliases(yaml.SafeDumper):
    """Writes a repeated object again: anchors are valid YAML, but not every reader of AsyncAPI knows them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _message_name(topic: str) -> str:
    message = message_on(topic)
    return message.__name__ if message else _DEAD_LETTER


def _channel(spec: TopicSpec, prefix: str) -> Json:
    name = _message_name(spec.name)
    return {
        "address": prefix + spec.name,
        "title": spec.name,
        "description": spec.purpose,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": prefix + spec.name,
                "partitions": spec.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [spec.cleanup],
                    "retention.ms": spec.retention_ms,
                    "max.message.bytes": spec.max_message_bytes,
                },
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _message(spec: TopicSpec) -> Json:
    message = message_on(spec.name)
    if message is None:
        return {
            "name": _DEAD_LETTER,
            "title": "Dead letter",
            "summary": "A record that a group could not work on, unchanged, with the cause in its headers.",
            "contentType": "application/octet-stream",
            "headers": {"$ref": "#/components/schemas/DeadLetterHeaders"},
            "payload": {"description": "The value of the record, as it was"},
            "bindings": _key("As the source record"),
        }
    avro = AVRO_FORMS.get(message)
    return {
        "name": message.TYPE,
        "title": message.__name__,
        "summary": (message.__doc__ or "").partition("\n")[0],
        "contentType": AVRO_TYPE if avro else JSON_TYPE,
        "headers": {"$ref": "#/components/schemas/RecordHeaders"},
        "payload": {"schemaFormat": _AVRO, "schema": avro.schema}
        if avro
        else {"$ref": f"#/components/schemas/{message.__name__}"},
        "bindings": _key(spec.key),
    }


def _key(description: str) -> Json:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": _KAFKA_BINDING}}


def _operations(stage: Stage, prefix: str) -> Iterator[tuple[str, Json]]:
    dead_letters = (stage.dead_letters,) if stage.consumes else ()
    for topic in (*stage.produces, *dead_letters):
        yield f"{stage.service}.send.{topic}", _operation("send", topic, f"{stage.service} writes {topic}")
    for topic in stage.consumes:
        group = {"groupId": {"type": "string", "enum": [prefix + stage.group]}, "bindingVersion": _KAFKA_BINDING}
        operation = _operation("receive", topic, f"{stage.service} works on {topic}")
        yield f"{stage.service}.receive.{topic}", operation | {"bindings": {"kafka": group}}
    for topic in stage.reads:
        summary = f"{stage.service} keeps all of {topic} in memory"
        yield f"{stage.service}.receive.{topic}", _operation("receive", topic, summary)


def _operation(action: str, topic: str, summary: str) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{topic}/messages/{_message_name(topic)}"}],
    }
