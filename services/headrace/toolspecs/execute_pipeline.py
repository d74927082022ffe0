"""``execute_pipeline``: fetch, load or join rows, then sort, filter, select, cut, aggregate and transform them, in one call.

The steps and their field names are those of protocol v1.0.
"""

from __future__ import annotations

from typing import Any, Final

from headrace.toolspecs.spec import Spec

STEPS: Final = (
    "http_request",
    "table_sort",
    "table_filter",
    "table_select",
    "top_k",
    "groupby",
    "join",
    "jq_transform",
    "regex_extract",
    "parse_date",
)
OPERATORS: Final = ("==", "!=", "<", "<=", ">", ">=", "in", "contains")
AGGREGATES: Final = ("count", "sum", "avg", "min", "max")
MAX_STEPS: Final = 30

_DESCRIPTION: Final = """\
Execute an ephemeral data pipeline using composable primitives. Each step works on the rows of the step before it.
Rows come from input_ref, or from http_request or a join of left and right as the first step. A JSON answer is read as
rows: a list is the rows, an object with exactly one list field gives that list, any other object is one row.
Steps: http_request {url, method?, params?} (params: query of a GET, JSON body of a POST); table_filter {condition};
table_sort {field, order?}; table_select {fields}; top_k {k} (the first k rows: sort before it);
groupby {by, agg, field?} (rows of the by fields and a field named like agg; field is needed unless agg is count);
join {on, left, right} (inner join of two references, result_ref of earlier calls; one left out is the rows so far; where
both have a field of one name, that of right is called right_<name>);
jq_transform {query} (a jq program; its input is the list of rows, or as the first step the document as it came);
regex_extract {field, pattern} (RE2; named groups become fields, else <field>_match is the match or the list of groups);
parse_date {field, format?} (to ISO 8601, in its place; format: iso8601, rfc2822, unix, unix_ms or a pattern such as
%d %b %Y %H:%M:%S %z).
Field names may be dotted paths such as user.login. A missing field is null; nulls sort last and match no <, <=, >, >=.
A result comes with a result_ref, which the next call may take as input_ref; a large one shows a sample of its rows."""

_CONDITION: Final = (
    f"{{field, op, value}} with op one of {' '.join(OPERATORS)}; or {{all: [conditions]}}, {{any: [conditions]}}, "
    "{not: condition}. in: value is a list that has the field's value; contains: the field is a text or list "
    "that has value"
)

_STEP: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["step"],
    "properties": {
        "step": {"type": "string", "enum": list(STEPS)},
        "url": {"type": "string", "description": "http_request: https is assumed if there is no scheme"},
        "method": {"type": "string", "enum": ["GET", "POST"]},
        "params": {"type": "object"},
        "field": {"type": "string"},
        "order": {"type": "string", "enum": ["asc", "desc"]},
        "condition": {"type": "object", "description": _CONDITION},
        "fields": {"type": "array", "items": {"type": "string"}},
        "k": {"type": "integer", "minimum": 1},
        "by": {"type": "array", "items": {"type": "string"}},
        "agg": {"type": "string", "enum": list(AGGREGATES)},
        "left": {"type": "string"},
        "right": {"type": "string"},
        "on": {"type": "string"},
        "query": {"type": "string"},
        "pattern": {"type": "string"},
        "format": {"type": "string"},
    },
}

EXECUTE_PIPELINE: Final = Spec(
    name="execute_pipeline",
    version="1.1.0",
    description=_DESCRIPTION,
    parameters={
        "type": "object",
        "required": ["session_id", "pipeline"],
        "additionalProperties": False,
        "properties": {
            "session_id": {"type": "string", "description": "Session ID for context tracking"},
            "pipeline": {
                "type": "array",
                "description": "Array of pipeline steps to execute",
                "minItems": 1,
                "maxItems": MAX_STEPS,
                "items": _STEP,
            },
            "input_ref": {"type": "string", "description": "Optional CAS reference to input data"},
        },
    },
    effect="idempotent",
)
