"""Each test that takes ``objects`` runs over every rendering of the chart."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache

import pytest
from kubernetes_validate import utils

from tests.deploy_k8s.charts import RENDERINGS, Object, rendering


@pytest.fixture(params=RENDERINGS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return deepcopy(rendering(request.param))


@pytest.fixture(autouse=True, scope="session")
def _schemas_are_read_once() -> Iterator[None]:
    """Their reader loads a megabyte of definitions for each object, otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield
