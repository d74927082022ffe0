"""deploy/Dockerfile without Docker: its instructions, and its build stage carried out in a folder instead of a container.

It shows that the copied files suffice, that the locks install by hash, and what the image's virtual environment can do. It can't
show the base image: paths, C library and Python are this machine's. `pip` is uv under that name, and packages are links into uv's
cache, to be quick.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.compose import ROOT

FILE = ROOT / "deploy" / "Dockerfile"
_PREFIX = "/opt/"


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str


def instructions() -> list[Instruction]:
    """In order, continued lines joined, comments left out."""
    lines = [line for line in FILE.read_text(encoding="utf-8").split("\n") if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Instruction(*re.split(r"\s+", line.strip(), maxsplit=1)) for line in joined.split("\n")]


def stages() -> list[list[Instruction]]:
    """One list for each FROM; what stands before the first is left out."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def of(stage: list[Instruction], name: str) -> list[str]:
    return [instruction.text for instruction in stage if instruction.name == name]


def build(folder: Path) -> Path:
    """Carries out COPY and RUN of the first stage below `folder`; the virtual environment that becomes the image's.

    ENV is left out: it only keeps caches out of layers and compiles bytecode, and the test should do neither.
    """
    base = folder / "base"
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base)], check=True)
    (base / "bin" / "pip").write_text(f'#!/bin/sh\nverb=$1; shift; exec {uv} pip "$verb" --python {base} "$@"\n')
    (base / "bin" / "pip").chmod(0o755)
    work, opt = folder / "src", folder / "opt"
    work.mkdir()
    opt.mkdir()
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    env |= {"PATH": f"{base / 'bin'}:{env['PATH']}", "UV_LINK_MODE": "symlink"}
    for instruction in stages()[0]:
        if instruction.name == "COPY":
            _copy(instruction.text.split(), work)
        elif instruction.name == "RUN":
            command = instruction.text.replace(_PREFIX, f"{opt}/")
            done = subprocess.run(
                ["sh", "-ec", command], cwd=work, env=env, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, f"{instruction.text}\n{done.stdout}\n{done.stderr}"
    return opt / "headrace"


def _copy(words: list[str], work: Path) -> None:
    *sources, target = words
    for source in sources:
        if (ROOT / source).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "*.pyc", ".env*")
            shutil.copytree(ROOT / source, work / target, ignore=skip)
        else:
            (work / target).mkdir(exist_ok=True)
            shutil.copy(ROOT / source, work / target)


def copied() -> Iterator[str]:
    """Sources of every COPY from the checkout."""
    for stage in stages():
        for text in of(stage, "COPY"):
            if not text.startswith("--from="):
                yield from text.split()[:-1]
