"""``openapi_action``: one operation of an API that describes itself, found by its id.

The field names are those of protocol v1.0.
"""

from __future__ import annotations

from typing import Final

from headrace.toolspecs.spec import Spec

_DESCRIPTION: Final = """\
Call one operation of an HTTP API by its OpenAPI description (3.0 or 3.1, JSON or YAML).
openapi_url: where the description is. operation_id: the operationId in it.
params: the operation's parameters by name, and its request body as body. Where one name stands in two places, write
path.NAME, query.NAME, header.NAME or cookie.NAME.
auth_profile: the name of a credential that the operator has set up; never put a credential into params.
A wrong operation_id or wrong params are answered with what there is, so that you can try again.
The answer is {status, body}; a large one comes as a preview and a result_ref, which execute_pipeline takes as input_ref."""

OPENAPI_ACTION: Final = Spec(
    name="openapi_action",
    version="1.0.0",
    description=_DESCRIPTION,
    parameters={
        "type": "object",
        "required": ["openapi_url", "operation_id"],
        "additionalProperties": False,
        "properties": {
            "openapi_url": {"type": "string", "description": "URL to OpenAPI spec (JSON/YAML)"},
            "operation_id": {"type": "string", "description": "Operation ID from spec"},
            "params": {"type": "object", "description": "Parameters for the operation"},
            "auth_profile": {"type": "string", "description": "Named auth configuration to use"},
        },
    },
    effect="idempotent",
)
