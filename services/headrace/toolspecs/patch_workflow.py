"""``patch_workflow``: change a stored workflow by JSON Patch, for good. The field names are those of protocol v1.0."""

from __future__ import annotations

from typing import Final

from headrace.toolspecs.spec import Spec

_DESCRIPTION: Final = """\
Create persistent workflow changes (always/whenever/schedule). The operations are JSON Patch on the workflow's definition
{nodes, edges, triggers, description}: add, remove, replace; "/nodes/-" appends. They are carried out all or none, make a new
version and give its patch_id.
A node is {id, type, config} with type agent {agent, prompt|input}, tool {tool, arguments}, task {action, ...}, condition (expr: a
JMESPath expression over the output of the node before, such as price < 500), map {items, body}, join {need}, wait {signal},
workflow {tag, input} or timer {seconds}. An edge is {from, to, condition?}; of a condition node the condition is "true" or "false".
A trigger is {type: always}, {type: whenever, event, source?, filter?} or {type: schedule, every_s | cron, timezone?}."""

PATCH_WORKFLOW: Final = Spec(
    name="patch_workflow",
    version="1.0.0",
    description=_DESCRIPTION,
    parameters={
        "type": "object",
        "required": ["workflow_tag", "patch_spec"],
        "additionalProperties": False,
        "properties": {
            "workflow_tag": {"type": "string", "description": "Tag of workflow to patch"},
            "workflow_owner": {"type": "string", "description": "Owner of the workflow"},
            "patch_spec": {
                "type": "object",
                "description": "JSON Patch operations",
                "required": ["operations"],
                "properties": {
                    "operations": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 100,
                        "items": {
                            "type": "object",
                            "required": ["op", "path"],
                            "properties": {
                                "op": {"type": "string", "enum": ["add", "remove", "replace"]},
                                "path": {"type": "string"},
                                "value": {},
                            },
                        },
                    },
                    "description": {"type": "string"},
                },
            },
        },
    },
    effect="idempotent",
)
