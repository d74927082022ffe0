from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.image import build
from tests.support.stack import data_folder


@pytest.fixture(scope="session")
def image() -> Iterator[Path]:
    """The virtual environment of the image, built as deploy/Dockerfile says."""
    with data_folder() as folder:
        yield build(folder)
