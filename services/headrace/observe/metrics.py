"""Every metric of the mesh, in one list. Names are stable: dashboards and alerts stand on them.

Labels are bounded on purpose: never an id, a key, a subject or a text from outside.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import REGISTRY, Gauge

from headrace.observe.container import Container
from headrace.observe.series import Counter, Histogram

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# --- agents: the platform's own names ------------------------------------------------------------------------------------
AGENT_REQUESTS = Counter("agent_requests_total", "Finished agent runs.", ["agent_name", "status"])
AGENT_SECONDS = Histogram(
    "agent_processing_seconds", "Seconds from the job record to the result.", ["agent_name"], buckets=_SECONDS
)
AGENT_VERSIONS = Counter(
    "headrace_agent_version_runs_total",
    "Finished runs by version; past 32 versions of an agent in one process, `other`.",
    ["agent_name", "agent_version", "status"],
)
MODEL_CALLS = Counter(
    "headrace_model_calls_total", "Model calls by outcome (ok, or the error's kind).", ["model", "outcome"]
)
MODEL_SECONDS = Histogram(
    "headrace_model_call_seconds", "Seconds of one model call, retries included.", ["model"], buckets=_SECONDS
)
TOKENS = Counter(
    "headrace_tokens_total", "Tokens used (direction: input, output, cache_read, cache_write).", ["model", "direction"]
)
COST = Counter("headrace_cost_usd_total", "Cost of model calls in US dollars.", ["model", "agent_name"])

# --- budgets ------------------------------------------------------------------------------------------------------------
BUDGET_USED = Gauge(
    "budget_used_ratio",
    "Part of a budget's present window that is used (unit: tokens, usd); agent_name is empty but for budgets of agents.",
    ["budget", "agent_name", "unit"],
)
BUDGET_REFUSALS = Counter("headrace_budget_refusals_total", "Model calls that a budget refused.", ["budget"])

# --- workflows -----------------------------------------------------------------------------------------------------------
WORKFLOWS = Counter("workflow_executions_total", "Workflow runs that ended (completed, failed, cancelled).", ["status"])
WORKFLOW_SECONDS = Histogram(
    "workflow_duration_seconds", "Seconds from the start of a workflow run to its end.", buckets=_SECONDS
)

WORKFLOWS_OPEN = Gauge(
    "headrace_workflow_runs", "Workflow runs that have not ended (running, paused, compensating).", ["status"]
)
WORKFLOWS_OLDEST = Gauge(
    "headrace_workflow_oldest_seconds", "Age of the oldest workflow run that has not ended.", ["status"]
)

# --- waits ---------------------------------------------------------------------------------------------------------------
PARKED = Gauge(
    "headrace_parked_runs",
    "Runs that wait, by what for (approval, agent, callback, kube_job, timer, intent).",
    ["kind"],
)
PARKED_OLDEST = Gauge("headrace_parked_oldest_seconds", "How long the oldest of them has waited.", ["kind"])
PARKED_OVERDUE = Gauge(
    "headrace_parked_overdue_calls", "Calls that are pending more than a minute after their deadline.", ["kind"]
)
FORGOTTEN = Counter(
    "headrace_forgotten_total", "What was removed since its time was over (wait, intent, workflow_run).", ["what"]
)

# --- runtime: one set per worker ----------------------------------------------------------------------------------------
RECORDS = Counter(
    "headrace_records_total", "Input records by how they ended (done, dead_lettered).", ["service", "topic", "outcome"]
)
RETRIES = Counter("headrace_retries_total", "In-lane retries.", ["service", "topic"])
HANDLE_SECONDS = Histogram(
    "headrace_handle_seconds", "Seconds inside a processor, all attempts.", ["service", "topic"], buckets=_SECONDS
)
IN_FLIGHT = Gauge("headrace_in_flight", "Records inside the processor now.", ["service"])
QUEUED = Gauge("headrace_queued", "Records received and not started.", ["service"])
QUEUED_BYTES = Gauge("headrace_queued_bytes", "Bytes of records received and not committed.", ["service"])
LAG = Gauge(
    "headrace_consumer_lag", "Records between the committed offset and the end, by topic.", ["service", "topic"]
)
PAUSED = Gauge("headrace_paused_partitions", "Partitions whose fetching a bound has paused.", ["service"])
COMMITS = Counter(
    "headrace_commits_total", "Transactions by outcome (committed, aborted, ambiguous).", ["service", "outcome"]
)
COMMIT_SECONDS = Histogram("headrace_commit_seconds", "Seconds of one transaction.", ["service"], buckets=_FAST)
COMMIT_RECORDS = Histogram(
    "headrace_commit_records",
    "Inputs finished per transaction.",
    ["service"],
    buckets=(1, 5, 10, 50, 100, 500, 1000, 5000),
)
ADVISORY = Counter(
    "headrace_advisory_records_total",
    "Records that nothing depends on, by what became of them (sent, dropped).",
    ["service", "outcome"],
)
DEAD_LETTERS = Counter(
    "headrace_dead_letters_total", "Records sent to a dead-letter topic, by cause.", ["service", "cause"]
)
CLAIM_CHECKS = Counter("headrace_claim_checks_total", "Values moved to the blob store for their size.", ["service"])

# --- every process ------------------------------------------------------------------------------------------------------
SPANS = Counter(
    "headrace_spans_total", "Spans handed to the trace collector, by outcome (exported, lost).", ["outcome"]
)

CONTAINER = Container()  # headrace_memory_limit_bytes, headrace_network_bytes_total
REGISTRY.register(CONTAINER)

# --- ingest -------------------------------------------------------------------------------------------------------------
DELIVERIES = Counter(
    "headrace_ingest_deliveries_total",
    "Raw deliveries by form (webhook, cloudevent, envelope) and outcome (first, again, duplicate, conflict, unnamed).",
    ["form", "outcome"],
)
EVENTS = Counter("headrace_ingest_events_total", "Canonical events made, by form of their delivery.", ["form"])
TRIGGERED_JOBS = Counter("headrace_triggered_jobs_total", "Jobs that events triggered.", ["agent_name"])
TRIGGER_ERRORS = Counter(
    "headrace_trigger_errors_total", "Trigger filters that failed on an event: counted as no match."
)

# --- gateway ------------------------------------------------------------------------------------------------------------
GATEWAY_REQUESTS = Counter(
    "headrace_gateway_requests_total", "HTTP requests by route template and status code.", ["route", "status"]
)
GATEWAY_SECONDS = Histogram(
    "headrace_gateway_seconds", "Seconds from request to the end of the response.", ["route"], buckets=_FAST
)
GATEWAY_LIMITED = Counter(
    "headrace_gateway_limited_total", "Requests that a rate limit refused, by webhook source, or `api`.", ["door"]
)

# --- tools --------------------------------------------------------------------------------------------------------------
TOOL_CALLS = Counter(
    "headrace_tool_calls_total", "Tool calls by outcome (ok, or the error's type).", ["tool", "outcome"]
)
TOOL_SECONDS = Histogram("headrace_tool_call_seconds", "Seconds of one tool call.", ["tool"], buckets=_SECONDS)

# --- analytics ----------------------------------------------------------------------------------------------------------
USAGE_RUNS = Counter(
    "headrace_usage_runs_total", "Finished runs in the audit log: counted, repeated (read again) or late.", ["outcome"]
)
USAGE_WINDOWS = Counter("headrace_usage_windows_total", "Announcements of usage windows.")
USAGE_OPEN = Gauge("headrace_usage_open_windows", "Windows in memory, partitions of the audit log counted apart.")
