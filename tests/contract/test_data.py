"""Where contracts and topics are found: the checkout goes before the copy that an install made."""

from pathlib import Path

import pytest

from headrace.contracts import data


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with its ``_data``, in a place that may become a checkout."""
    package = tmp_path / "services" / "headrace"
    (package / "_data" / "schemas").mkdir(parents=True)
    monkeypatch.setattr(data, "_PACKAGE", package)
    monkeypatch.setattr(data, "_CHECKOUT", tmp_path)
    return tmp_path


def test_an_installed_wheel_uses_the_data_beside_the_package(install: Path) -> None:
    (install / "schemas").mkdir()  # somebody else's folder: no pyproject.toml beside it
    assert data.schemas_dir() == install / "services" / "headrace" / "_data" / "schemas"


def test_a_checkout_uses_its_own_files(install: Path) -> None:
    (install / "pyproject.toml").touch()
    (install / "schemas").mkdir()
    assert data.schemas_dir() == install / "schemas"


def test_this_checkout_is_found() -> None:
    assert (data.schemas_dir() / "agent.jobs" / "schema.json").is_file()
    assert (data.topics_dir() / "agent.jobs.yaml").is_file()
