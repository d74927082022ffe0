"""OpenAPI of deciding an approval, and of reporting what a wait is for."""

from __future__ import annotations

from typing import Any, Final

from headrace.gateway.approvals import DecisionRequest
from headrace.gateway.callbacks import CallbackRequest
from headrace.gateway.openapi_parts import LIMITED, answers, body, parameter

_APPROVAL: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "run_id": {"type": "string"},
    "state": {"enum": ["pending", "approved", "denied", "answered", "reported", "due", "cancelled"]},
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
                        _429=LIMITED,
                    ),
                },
            }
        },
        "/v1/waits/{wait_id}/callback": {
            "post": {
                "tags": ["waits"],
                "summary": "Report the outcome that a run waits for",
                "description": "The first report counts; the same one again is a 200. With a credential, or the wait's own "
                "token, which may be there before its wait is: then it is a 503.",
                "parameters": [parameter("wait_id", "path", "As GET /v1/waits lists it", required=True)],
                "requestBody": body(("application/json", CallbackRequest.model_json_schema())),
                "responses": {
                    "200": {"description": "Settled by this", "content": {"application/json": {"schema": settled}}},
                    **answers(
                        _APPROVAL,
                        _400="Broken JSON",
                        _404="No such wait, or not one for a callback",
                        _409="Settled otherwise",
                        _415="Content type or encoding",
                        _422="Not a report",
                        _429=LIMITED,
                    ),
                },
            }
        },
    }
