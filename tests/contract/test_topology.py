"""``topics/*.yaml``, ``pipeline.py`` and the contracts tell one story, and each way to disagree is noticed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts import schemas_dir
from headrace.pipeline import PIPELINE, Stage
from headrace.topology import TopicSpec, check, load, load_all
from headrace.topology.spec import FOREVER

SPECS = load_all()


def changed(name: str, **fields: Any) -> dict[str, TopicSpec]:
    return SPECS | {name: SPECS[name].model_copy(update=fields)}


def test_topics_and_pipeline_agree() -> None:
    assert check(SPECS, PIPELINE) == []


def test_every_topic_with_a_schema_has_its_files() -> None:
    for spec in SPECS.values():
        if spec.schema_name:
            folder = schemas_dir() / spec.schema_name
            assert (folder / "schema.json").is_file()
            assert (folder / "schema.avsc").is_file() == (spec.format == "avro")


def stages(service: str, **fields: Any) -> tuple[Stage, ...]:
    return tuple(replace(stage, **fields) if stage.service == service else stage for stage in PIPELINE)


@pytest.mark.parametrize(
    ("specs", "pipeline", "where"),
    [
        (changed("agent.jobs", producers=("ingest",)), PIPELINE, "agent.jobs"),
        (changed("agent.jobs", producers=("ingest", "gateway", "tools")), PIPELINE, "agent.jobs"),
        (changed("ingest.events", consumers=("persistence", "tools")), PIPELINE, "ingest.events"),
        (changed("tool.calls", consumers=("persistence",)), PIPELINE, "tool.calls"),
        (changed("tool.calls", dead_letters=("tools.dlq",)), PIPELINE, "tool.calls"),
        (changed("tools.dlq", producers=("ingest",)), PIPELINE, "tools.dlq"),
        (changed("agent.results", format="json"), PIPELINE, "agent.results"),
        (changed("agent.results", schema_name=None), PIPELINE, "agent.results"),
        (changed("tools.dlq", schema_name="tools.dlq"), PIPELINE, "tools.dlq"),
        (changed("agent.definitions", cleanup="delete"), PIPELINE, "agent.definitions"),
        (changed("agent.definitions", retention="30d"), PIPELINE, "agent.definitions"),
        (changed("agent.jobs", cleanup="compact", retention="forever"), PIPELINE, "agent.jobs"),
        ({name: spec for name, spec in SPECS.items() if name != "tools.dlq"}, PIPELINE, "tools.dlq"),
        (SPECS, stages("tools", consumes=("tool.calls", "agent.jobs")), "agent.jobs"),
        (SPECS, stages("gateway", produces=("ingest.raw",)), "agent.jobs"),
        (SPECS, PIPELINE[:-1], "analytics.dlq"),
    ],
)
def test_each_disagreement_is_a_problem(specs: dict[str, TopicSpec], pipeline: tuple[Stage, ...], where: str) -> None:
    assert f"topics/{where}.yaml" in {problem.where for problem in check(specs, pipeline)}


def test_retention_in_milliseconds() -> None:
    assert SPECS["agent.jobs"].retention_ms == 30 * 86_400_000
    assert SPECS["agent.definitions"].retention_ms == FOREVER
    assert SPECS["agent.jobs"].model_copy(update={"retention": "12h"}).retention_ms == 43_200_000


GOOD = """\
name: a.topic
purpose: For a test.
key: any
partitions: 3
retention: 7d
cleanup: delete
format: raw
producers: [gateway]
consumers: ["(anybody)"]
"""


def test_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.topic.yaml").write_text(GOOD)
    spec = load(tmp_path / "a.topic.yaml")
    assert (spec.services_in, spec.services_out) == (("gateway",), ())


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("7d", "a week"),
        GOOD.replace("7d", "0d"),
        GOOD.replace("partitions: 3", "partitions: 0"),
        GOOD.replace("cleanup: delete", "cleanup: shred"),
        GOOD.replace("a.topic", "b.topic"),
        GOOD.replace("a.topic", "../a"),
        GOOD + "colour: red\n",
        GOOD + "note: a: b\n",
        "[]",
    ],
)
def test_broken_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.topic.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.topic\.yaml"):
        load(path)
