"""Every operation of the OpenAPI document, with what schemathesis makes of it: no request is a 500, and errors have their shape."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.generation import GenerationMode

from tests.gateway.support import SECRETS, Gateway

GATEWAY = Gateway(environ=SECRETS, webhook_open="alertmanager", gateway_max_wait_s=0.05)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", GATEWAY.app)
SCHEMA.config.generation.update(modes=list(GenerationMode))
SHAPE = {"error"}
OLDER = {"detail"}  # of the doors of the older APIs, once their request is read
RPC = {"jsonrpc", "id", "error"}  # of MCP

pytestmark = pytest.mark.filterwarnings("ignore")  # of what it is built on


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_request_is_a_500(case: schemathesis.Case) -> None:
    response = case.call()
    assert response.status_code != 500, response.text
    if response.status_code >= 400 and response.status_code != 503 and case.method != "HEAD":
        shapes = [SHAPE, *([OLDER] if case.path.startswith("/agent") else []), *([RPC] if case.path == "/mcp" else [])]
        assert set(response.json()) in shapes
