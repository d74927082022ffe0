"""What the documents name is there: links and anchors, files, commands, settings, metrics, tests, verbs, topics."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cyclopts import App
from cyclopts.exceptions import MissingArgumentError, UnknownCommandError, UnknownOptionError, UnusedCliTokensError
from prometheus_client import Gauge

from headrace.cli.app import commands
from headrace.observe import metrics
from headrace.observe.series import Counter, Histogram
from headrace.pipeline import PIPELINE
from headrace.topology.spec import load_all
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, prose, shell_calls, text_of

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
SHELL = blocks("sh")


def name(value: Path | Block) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def spans(page: Path) -> list[str]:
    """Inline code."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def test_the_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md", "docs/operating.md"} <= {
        name(page) for page in PAGES
    }
    assert len(SHELL) >= 15


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if target.startswith("https://"):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)}: {target}"
        assert there.is_relative_to(ROOT)
        if fragment:
            assert fragment in anchors(there), f"{name(page)}: {target}; there are {sorted(anchors(there))}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    places = re.compile(r"(services|tests|docs|schemas|topics|requirements|benchmarks|\.ci)/[\w./*-]*")
    for span in spans(page):
        if places.fullmatch(span):
            assert list(ROOT.glob(span.rstrip("/"))), f"{name(page)}: {span}"


def test_configuration_is_what_the_settings_say() -> None:
    generator = _generator()
    assert text_of(ROOT / "docs" / "configuration.md") == generator.document(), "run python docs/generate.py"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_senders_is_what_their_files_say() -> None:
    assert text_of(ROOT / "docs" / "webhooks.md") == _generator().webhooks(), "run python docs/generate.py"


def test_the_picture_of_the_flow_is_the_pipeline() -> None:
    generator = _generator()
    assert text_of(ROOT / "docs" / "concepts.md") == generator.concepts(), "run python docs/generate.py"


def test_every_setting_that_is_named_is_in_configuration() -> None:
    known = set(re.findall(r"`([A-Z][A-Z0-9_<>]+)`", text_of(ROOT / "docs" / "configuration.md")))
    named = re.compile(r"\b(?:HEADRACE|KAFKA|DATABASE|SCHEMA|OPENAI|ANTHROPIC)_[A-Z0-9_]+")
    for page in PAGES:
        for variable in named.findall(text_of(page)):
            generic = "HEADRACE_WEBHOOK_SECRET_<SOURCE>" if variable.startswith("HEADRACE_WEBHOOK_SECRET_") else None
            assert {variable, generic} & known, f"{name(page)}: {variable}"


def test_the_listed_metrics_are_all_that_there_are() -> None:
    table = re.findall(
        r"^\| `((?:agent|budget|headrace|workflow)_\w+)` \| ([^|]*)\|",
        text_of(ROOT / "docs/operating.md"),
        re.MULTILINE,
    )
    listed = {metric: tuple(labels.replace(" ", "").split(",")) if labels.strip() else () for metric, labels in table}
    real: dict[str, Any] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Histogram):
            real[metric._name] = metric._labels
        elif isinstance(metric, Gauge):
            real[metric._name] = metric._labelnames
    for family in metrics.CONTAINER.collect():
        total = "_total" if family.type == "counter" else ""
        real[family.name + total] = tuple(name for sample in family.samples[:1] for name in sample.labels)
    assert listed == real


def test_every_test_that_is_named_exists() -> None:
    sources = "\n".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    known = set(re.findall(r"def (test_\w+)", sources)) | {path.stem for path in ROOT.glob("tests/**/*.py")}
    named = {(name(page), test) for page in PAGES for test in re.findall(r"`(test_\w+)`", prose(page))}
    assert len(named) > 20
    assert not [entry for entry in named if entry[1] not in known]


def test_the_invariants_are_numbered_from_1_to_15() -> None:
    section = text_of(ROOT / "docs/design.md").split("## The invariants")[1].split("\n### ")[0]
    assert [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)] == list(range(1, 16))


# --- commands -----------------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> None:
    """Raises what the command line raises; runs nothing."""
    commands(arguments).parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("block", SHELL, ids=name)
def test_every_command_parses(block: Block, tmp_path: Path) -> None:
    for program, *arguments in shell_calls(block, tmp_path):
        if program == "headrace":
            parse(arguments)
        elif program == "make":
            assert set(arguments) <= verbs(), f"{block}: make {' '.join(arguments)}"


def test_every_command_in_the_text_parses() -> None:
    """Inline ones, which may leave out what the reader has to give."""
    named = [(name(page), span) for page in PAGES for span in spans(page) if span.startswith("headrace ")]
    assert len(named) > 15
    for page, span in named:
        with contextlib.suppress(MissingArgumentError):
            try:
                parse(span.split()[1:])
            except (UnknownCommandError, UnknownOptionError, UnusedCliTokensError) as error:
                raise AssertionError(f"{page}: {span}: {error}") from None


def test_the_table_of_commands_is_complete() -> None:
    table = re.findall(r"^\| (`headrace .*?) \|", text_of(ROOT / "README.md"), re.MULTILINE)
    listed = sorted(command for row in table for command in re.findall(r"`headrace ([^`]+)`", row))
    assert listed == sorted(leaves(commands(()), ()))


def leaves(node: App, path: tuple[str, ...]) -> Iterator[str]:
    for command in node:
        if command.startswith("-"):
            continue
        below = node[command]
        if list(leaves(below, ())):
            yield from leaves(below, (*path, command))
        else:
            yield " ".join((*path, command))


def test_every_verb_in_the_text_is_one_of_the_makefile() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([\w-]+)", shown)) == verbs()
    for page in PAGES:
        for span in spans(page):
            if span.startswith("make "):
                assert set(span.split()[1:]) <= verbs(), f"{name(page)}: {span}"


def verbs() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


# --- the map -------------------------------------------------------------------------------------------------------------


def test_the_picture_is_the_pipeline() -> None:
    """README's mermaid chart, without the people at its edges and the dead letters, has the arrows of `pipeline.py`."""
    (chart,) = (block for block in blocks("mermaid") if block.page.name == "README.md")
    titles = dict(re.findall(r"(\w+)\[([a-z.]+)\]", chart.text))
    outside = set(re.findall(r"(\w+)\(\[", chart.text)) | {"producers"} | set(re.findall(r"(\w+)\[\(", chart.text))
    drawn = set()
    for left, right in re.findall(
        r"^ *(\w+)\S* --> (\w+)", re.sub(r"\[.*?\]|\(\[.*?\]\)", "", chart.text), re.MULTILINE
    ):
        if not {left, right} & outside:
            drawn.add((titles.get(left, left), titles.get(right, right)))
    real = {(stage.service, topic) for stage in PIPELINE for topic in stage.produces}
    real |= {(t, stage.service) for stage in PIPELINE for t in stage.consumes if not t.endswith(".dlq")}
    assert drawn == real


def test_the_table_of_topics_is_what_is_declared() -> None:
    rows = re.findall(
        r"^\| (`[^|]+) \|[^|]*\| ([^|]+) \|[^|]*\| ([^|]+) \|$", text_of(ROOT / "docs/producing-and-consuming.md"), re.M
    )
    listed = {topic: (form, kept) for topics, form, kept in rows for topic in re.findall(r"`([a-z]+\.[a-z]+)`", topics)}
    days = {spec.name: spec for spec in load_all().values() if not spec.name.endswith(".dlq")}
    assert set(listed) == set(days)
    for topic, spec in days.items():
        form, kept = listed[topic]
        assert kept == spec.retention.replace("d", " days"), topic
        assert form.lower().startswith({"raw": "bytes"}.get(spec.format, spec.format)), topic
