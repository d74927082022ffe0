"""Ahead-of-time caches: trained once, anew when the software changes, and never in the way of a start."""

import os
from pathlib import Path

import pytest

from headrace.local import aot
from headrace.local.download import Software
from headrace.local.errors import StackError
from headrace.local.java import Aot
from headrace.local.progress import Step
from headrace.local.server import Site


class Stopped:
    """The process of ``Quick``, which writes the cache as it stops."""

    def __init__(self, cache: Aot) -> None:
        self._cache = cache

    def stop(self, _grace: float) -> None:
        assert self._cache.training
        self._cache.path.write_text("trained")


class Quick:
    """A server that starts at once."""

    starts = 0

    def __init__(self, _site: Site, _software: Software, cache: Aot) -> None:
        self.process = Stopped(cache)

    def start(self) -> None:
        Quick.starts += 1


class Broken(Quick):
    def start(self) -> None:
        raise StackError("no room")


@pytest.fixture
def software(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Software:
    Quick.starts = 0
    monkeypatch.setattr(aot, "_broker", Quick)
    jar = tmp_path / "jars" / "kafka.jar"
    jar.parent.mkdir()
    jar.write_text("jar")
    return Software((jar,), tmp_path)


def test_a_cache_is_trained_once_and_used_from_then_on(software: Software, tmp_path: Path) -> None:
    first = aot.ensure_trained(software, tmp_path, lambda _: None)
    assert first.kafka
    assert first.kafka.flag == f"-XX:AOTCache={first.kafka.path}"
    assert first.kafka.path.read_text() == "trained"
    assert aot.ensure_trained(software, tmp_path, lambda _: None) == first
    assert Quick.starts == 1
    assert not list(tmp_path.glob(".staging-*"))


def test_other_software_is_trained_anew_and_the_old_cache_goes(software: Software, tmp_path: Path) -> None:
    first = aot.ensure_trained(software, tmp_path, lambda _: None)
    os.utime(software.kafka_classpath[0], (1, 1))
    second = aot.ensure_trained(software, tmp_path, lambda _: None)
    assert second.kafka
    assert second != first
    assert list((tmp_path / "aot").iterdir()) == [second.kafka.path]


def test_a_training_that_fails_is_told_and_done_without(
    software: Software, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aot, "_broker", Broken)
    steps: list[Step] = []
    assert aot.ensure_trained(software, tmp_path, steps.append).kafka is None
    assert "no room" in steps[-1].message
