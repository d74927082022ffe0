"""Settings of a test's own topics on the shared stack."""

from __future__ import annotations

import pytest

from headrace.local.endpoints import Endpoints
from headrace.settings import MeshSettings
from tests.runtime.kafka import make_topics
from tests.runtime.relay import TOPICS, settings_for


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    settings = settings_for(stack, namespace)
    make_topics(settings, TOPICS)
    return settings
