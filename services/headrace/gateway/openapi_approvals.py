"""OpenAPI of deciding an approval."""

from __future__ import annotations

from typing import Any, Final

from headrace.gateway.approvals import DecisionRequest
from headrace.gateway.openapi_parts import answers, body, parameter

_APPROVAL: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "run_id": {"type": "string"},
    "state": {"enum": ["pending", "approved", "denied", "reported", "due", "cancelled"]},
    "decided_by": {"type": "string"},
}


def approval_paths() -> dict[str, Any]:
    settled = {"type": "object", "required": ["id", "run_id", "state"], "properties": _APPROVAL}
    return {
        "/v1/approvals/{approval_id}/decision": {
            "post": {
                "tags": ["approvals"],
                "summary": "Approve or deny a call, or approve it with other arguments",
                "description": "The first decision counts. Bound to the arguments that `arguments_hash` names.",
                "parameters": [parameter("approval_id", "path", "As GET /v1/approvals lists it", required=True)],
                "requestBody": body(("application/json", DecisionRequest.model_json_schema())),
                "responses": {
                    "200": {"description": "Decided", "content": {"application/json": {"schema": settled}}},
                    **answers(
                        _APPROVAL,
                        _400="Broken JSON",
                        _404="No such approval",
                        _409="Decided already, or about other arguments",
                        _415="Content type or encoding",
                        _422="Not a decision",
                    ),
                },
            }
        }
    }
