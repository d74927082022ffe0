"""The contracts of the mesh as files: export them, and check that what is committed is true and compatible.

``schemas/<topic>/schema.json`` (and ``schema.avsc``) is what the code speaks now; ``released/<version>.json`` beside it is what
somebody out there may hold the mesh to. A change of a model shows up as drift until it is exported, and as incompatible for
ever if it breaks a released version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson

from headrace.contracts import compat
from headrace.contracts.data import schemas_dir, topics_dir
from headrace.contracts.documents import AVRO_FILE, SCHEMA_FILE, documents, version
from headrace.contracts.problem import Problem
from headrace.messages.catalog import BY_TOPIC

__all__ = ["Problem", "check", "export", "release", "schemas_dir", "topics_dir"]

_COMPARE: Final = {".json": (SCHEMA_FILE, compat.compare_json), ".avsc": (AVRO_FILE, compat.compare_avro)}


def export(directory: Path) -> list[Path]:
    """Write all contract files below ``directory``; the files that changed."""
    changed = []
    for name, content in documents().items():
        path = directory / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            changed.append(path)
    return changed


def release(directory: Path) -> list[Path]:
    """Keep the present contracts as released ones, each under its version; the files that are new.

    A release is for ever: the file of a version that was released before is left as it is.
    """
    written = []
    for name, content in documents().items():
        topic, file = name.split("/")
        path = directory / topic / "released" / (version(BY_TOPIC[topic]) + Path(file).suffix)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            written.append(path)
    return written


def check(directory: Path | None = None) -> list[Problem]:
    """Drift of the files below ``directory`` from the code, and incompatible changes since the released versions."""
    root = schemas_dir() if directory is None else directory
    current = documents()
    return [*_drift(root, current), *_incompatible(root, current)]


def _drift(root: Path, current: dict[str, bytes]) -> list[Problem]:
    found = []
    for name, content in current.items():
        path = root / name
        if not path.is_file():
            found.append(Problem(name, "is missing: run `headrace schemas export`"))
        elif path.read_bytes() != content:
            found.append(
                Problem(name, "differs from the code: run `headrace schemas export`, then review the difference")
            )
    for folder in sorted(path.name for path in root.iterdir() if path.is_dir()):
        if folder not in BY_TOPIC:
            found.append(Problem(folder, "no message travels on a topic of that name: remove the folder"))
    return found


def _incompatible(root: Path, current: dict[str, bytes]) -> list[Problem]:
    found = []
    for topic in BY_TOPIC:
        released = sorted((root / topic / "released").glob("1.*"))
        if not released:
            found.append(Problem(topic, "has no released version to compare with"))
        for path in released:
            file, compare = _COMPARE[path.suffix]
            new: dict[str, Any] = orjson.loads(current[f"{topic}/{file}"])
            found += compare(f"{topic} {path.stem}", orjson.loads(path.read_bytes()), new)
    return found
