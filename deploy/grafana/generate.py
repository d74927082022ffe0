"""Writes the dashboards from the tables below: ``python deploy/grafana/generate.py [FOLDER]``.

A dashboard is rows of panels; a panel is a title, a form, a unit and queries. ``tests/deploy`` holds the files equal to this, and
every metric and label in them to what is scraped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rendering import RATE, Dashboard, Panel, quantiles, rate, render, share

AGENT: Final = '{agent_name=~"$agent"}'
FAILED: Final = 'status="failed"'
TRIGGERED: Final = "and on (agent_name) sum by (agent_name) (headrace_triggered_jobs_total) > 0"
DISKS: Final = '{fstype!~"tmpfs|ramfs|overlay|squashfs|nsfs"}'
MESH: Final = '{job="headrace"}'

OVERVIEW: Final = Dashboard(
    "headrace-overview",
    "Platform Overview",
    (
        (
            Panel("Runs", (("sum(increase(agent_requests_total[$__range]))", "runs"),), form="stat"),
            Panel(
                "Active agents",
                (("count(sum by (agent_name) (increase(agent_requests_total[$__range])) > 0)", "agents"),),
                form="stat",
            ),
            Panel("Error rate", (share("agent_requests_total", FAILED),), "percentunit", "stat", red_from=0.05),
            Panel("P99 latency", quantiles("agent_processing_seconds", of=("0.99",)), "s", "stat", red_from=10),
            Panel("Cost", (("sum(increase(headrace_cost_usd_total[$__range]))", "cost"),), "currencyUSD", "stat"),
            Panel("Services that answer", ((f"sum(up{MESH})", "up"), (f"count(up{MESH})", "of")), form="stat"),
        ),
        (
            Panel("Runs by agent", (rate("agent_requests_total", "agent_name"),), "ops", stacked=True),
            Panel("Runs by outcome", (rate("agent_requests_total", "status"),), "ops", stacked=True),
            Panel("From the job's record to the result", quantiles("agent_processing_seconds"), "s"),
        ),
        (
            Panel("Requests at the gateway", (rate("headrace_gateway_requests_total", "route, status"),), "reqps"),
            Panel("Canonical events", (rate("headrace_ingest_events_total", "form"),), "ops", stacked=True),
            Panel("Tokens", (rate("headrace_tokens_total", "direction"),), "ops", stacked=True),
        ),
        (
            Panel("Records behind", (("sum by (service) (headrace_consumer_lag)", "{{service}}"),)),
            Panel("Dead letters", (rate("headrace_dead_letters_total", "service, cause"),), "ops"),
            Panel(
                "Cost by model, per hour",
                (("sum by (model) (rate(headrace_cost_usd_total[1h])) * 3600", "{{model}}"),),
                "currencyUSD",
            ),
        ),
        (Panel("Warnings and errors", (('{level=~"warning|error|critical"}', ""),), form="logs"),),
    ),
)

AGENTS: Final = Dashboard(
    "headrace-agents",
    "Agent Performance",
    (
        (
            Panel("Runs", (rate("agent_requests_total", "agent_name", AGENT),), "ops", stacked=True),
            Panel(
                "Error rate",
                (share("agent_requests_total", FAILED, "agent_name", AGENT),),
                "percentunit",
                red_from=0.05,
            ),
            Panel(
                "P99 latency",
                quantiles("agent_processing_seconds", "agent_name", AGENT, of=("0.99",)),
                "s",
                red_from=10,
            ),
        ),
        (
            Panel("Latency of all selected", quantiles("agent_processing_seconds", "", AGENT), "s"),
            Panel(
                "Distribution of latency",
                ((f"sum by (le) (increase(agent_processing_seconds_bucket{AGENT}{RATE}))", "{{le}}"),),
                "s",
                "heatmap",
            ),
            Panel(
                "Cost per run",
                (
                    (
                        "sum by (agent_name) (increase(headrace_cost_usd_total"
                        f"{AGENT}[1h])) / sum by (agent_name) (increase(agent_requests_total{AGENT}[1h]))",
                        "{{agent_name}}",
                    ),
                ),
                "currencyUSD",
            ),
        ),
        (
            Panel(
                "Runs by version",
                (rate("headrace_agent_version_runs_total", "agent_name, agent_version", AGENT),),
                "ops",
                stacked=True,
            ),
            Panel(
                "Error rate by version",
                (share("headrace_agent_version_runs_total", FAILED, "agent_name, agent_version", AGENT),),
                "percentunit",
                about="Of a canary beside the version that is live, for example.",
                red_from=0.05,
            ),
            Panel(
                "Budgets that are used",
                (("max by (budget, agent_name, unit) (budget_used_ratio)", "{{budget}} {{agent_name}} {{unit}}"),),
                "percentunit",
                red_from=1,
            ),
            Panel("Refused by a budget", (rate("headrace_budget_refusals_total", "budget"),), "ops"),
        ),
        (
            Panel("Model calls", (rate("headrace_model_calls_total", "model, outcome"),), "ops"),
            Panel(
                "Model call, retries included",
                quantiles("headrace_model_call_seconds", "model", of=("0.5", "0.99")),
                "s",
            ),
            Panel("Tokens", (rate("headrace_tokens_total", "model, direction"),), "ops", stacked=True),
        ),
        (
            Panel("Tool calls", (rate("headrace_tool_calls_total", "tool, outcome"),), "ops"),
            Panel("Tool call", quantiles("headrace_tool_call_seconds", "tool", of=("0.5", "0.99")), "s"),
            Panel(
                "Agents in this range",
                (
                    (f"sum by (agent_name) (increase(agent_requests_total{AGENT}[$__range]))", "runs"),
                    (f"sum by (agent_name) (increase(headrace_cost_usd_total{AGENT}[$__range]))", "cost"),
                ),
                form="table",
            ),
        ),
    ),
    {"agent": ("Agent", "agent_requests_total, agent_name")},
)

WORKFLOWS: Final = Dashboard(
    "headrace-workflows",
    "Workflow Analytics",
    (
        (
            Panel(
                "What a workflow is here",
                form="text",
                about="First, runs of workflows: graphs of several steps. Then their smallest form: an event meets the trigger of "
                "an agent, and becomes a job and a run. Runs of the same agents on request count in too, since one counter "
                "holds both.",
            ),
        ),
        (
            Panel("Workflow runs that ended", (rate("workflow_executions_total", "status"),), "ops", stacked=True),
            Panel("Workflow run", quantiles("workflow_duration_seconds", "", of=("0.5", "0.95")), "s"),
            Panel(
                "Workflow runs that failed",
                (('sum(increase(workflow_executions_total{status="failed"}[$__range]))', "failed"),),
                form="stat",
                red_from=1,
            ),
        ),
        (
            Panel("Runs that wait, by what for", (("max by (kind) (headrace_parked_runs)", "{{kind}}"),), stacked=True),
            Panel(
                "Calls past their deadline",
                (("max by (kind) (headrace_parked_overdue_calls)", "{{kind}}"),),
                red_from=1,
            ),
            Panel("The oldest that waits", (("max by (kind) (headrace_parked_oldest_seconds) > 0", "{{kind}}"),), "s"),
            Panel(
                "Workflow runs that go on", (("max by (status) (headrace_workflow_runs)", "{{status}}"),), stacked=True
            ),
            Panel(
                "The oldest that goes on",
                (("max by (status) (headrace_workflow_oldest_seconds) > 0", "{{status}}"),),
                "s",
            ),
        ),
        (
            Panel(
                "Success rate of triggered agents",
                (
                    (
                        f"1 - (sum((sum by (agent_name) (rate(agent_requests_total{{{FAILED}}}[15m])) {TRIGGERED}) or vector(0))"
                        f" / sum(sum by (agent_name) (rate(agent_requests_total[15m])) {TRIGGERED}))",
                        "success",
                    ),
                ),
                "percentunit",
                "stat",
            ),
            Panel(
                "Started by events", (("sum(increase(headrace_triggered_jobs_total[$__range]))", "jobs"),), form="stat"
            ),
            Panel("Events", (("sum(increase(headrace_ingest_events_total[$__range]))", "events"),), form="stat"),
            Panel(
                "Triggers that failed",
                (("sum(increase(headrace_trigger_errors_total[$__range]))", "errors"),),
                form="stat",
                red_from=1,
            ),
        ),
        (
            Panel("Started by events", (rate("headrace_triggered_jobs_total", "agent_name"),), "ops", stacked=True),
            Panel(
                "Failed over 15 minutes",
                (
                    (
                        f"(sum by (agent_name) (rate(agent_requests_total{{{FAILED}}}[15m]))"
                        f" / sum by (agent_name) (rate(agent_requests_total[15m]))) {TRIGGERED}",
                        "{{agent_name}}",
                    ),
                ),
                "percentunit",
                red_from=0.10,
            ),
            Panel(
                "Jobs for each event",
                (
                    (
                        "sum(rate(headrace_triggered_jobs_total[5m])) / sum(rate(headrace_ingest_events_total[5m]))",
                        "jobs",
                    ),
                ),
            ),
        ),
        (
            Panel(
                "Distribution of duration",
                (
                    (
                        f"sum by (le) (sum by (le, agent_name) (increase(agent_processing_seconds_bucket{RATE})) {TRIGGERED})",
                        "{{le}}",
                    ),
                ),
                "s",
                "heatmap",
            ),
            Panel("Duration", quantiles("agent_processing_seconds", "agent_name", of=("0.5", "0.99")), "s"),
            Panel(
                "Tool calls for each run",
                (("sum(rate(headrace_tool_calls_total[5m])) / sum(rate(agent_requests_total[5m]))", "calls"),),
            ),
        ),
    ),
)

INFRASTRUCTURE: Final = Dashboard(
    "headrace-infrastructure",
    "Infrastructure",
    (
        (
            Panel(
                "Processor of each service",
                ((f"rate(process_cpu_seconds_total{MESH}{RATE})", "{{instance}}"),),
                "percentunit",
            ),
            Panel("Memory of each service", ((f"process_resident_memory_bytes{MESH}", "{{instance}}"),), "bytes"),
            Panel(
                "Memory against its limit",
                ((f"process_resident_memory_bytes{MESH} / headrace_memory_limit_bytes{MESH}", "{{instance}}"),),
                "percentunit",
                about="Only where the service runs in a container with a limit.",
                red_from=0.90,
            ),
        ),
        (
            Panel(
                "Network of each service",
                ((f"rate(headrace_network_bytes_total{MESH}{RATE})", "{{instance}} {{direction}}"),),
                "Bps",
            ),
            Panel("Open files", ((f"process_open_fds{MESH} / process_max_fds{MESH}", "{{instance}}"),), "percentunit"),
            Panel("Since the start", ((f"time() - process_start_time_seconds{MESH}", "{{instance}}"),), "s"),
        ),
        (
            Panel(
                "Machine: processors",
                (('1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}' + RATE + "))", "{{instance}}"),),
                "percentunit",
            ),
            Panel(
                "Machine: memory",
                (("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{instance}}"),),
                "percentunit",
                red_from=0.90,
            ),
            Panel(
                "Machine: disks",
                ((f"1 - node_filesystem_avail_bytes{DISKS} / node_filesystem_size_bytes{DISKS}", "{{mountpoint}}"),),
                "percentunit",
                red_from=0.85,
            ),
            Panel(
                "Machine: network",
                (
                    (
                        'sum by (device) (rate(node_network_receive_bytes_total{device!="lo"}' + RATE + "))",
                        "{{device}} in",
                    ),
                    (
                        'sum by (device) (rate(node_network_transmit_bytes_total{device!="lo"}' + RATE + "))",
                        "{{device}} out",
                    ),
                ),
                "Bps",
            ),
        ),
        (
            Panel(
                "Redpanda: disk",
                (("1 - redpanda_storage_disk_free_bytes / redpanda_storage_disk_total_bytes", "used"),),
                "percentunit",
                red_from=0.85,
            ),
            Panel("Redpanda: memory left", (("redpanda_memory_available_memory", "shard {{shard}}"),), "bytes"),
            Panel(
                "Redpanda: bytes by topic",
                (
                    (
                        "sum by (redpanda_topic) (rate(redpanda_kafka_request_bytes_total" + RATE + "))",
                        "{{redpanda_topic}}",
                    ),
                ),
                "Bps",
            ),
            Panel("What is scraped", (("min by (job, instance) (up)", "{{job}} {{instance}}"),), form="table"),
        ),
    ),
)

PIPELINE: Final = Dashboard(
    "headrace-pipeline",
    "Pipeline",
    (
        (
            Panel("Records behind", (("sum by (service, topic) (headrace_consumer_lag)", "{{service}} {{topic}}"),)),
            Panel("Records done", (rate("headrace_records_total", "service, topic", '{outcome="done"}'),), "ops"),
            Panel("Dead letters", (rate("headrace_dead_letters_total", "service, cause"),), "ops"),
        ),
        (
            Panel("In flight", (("sum by (service) (headrace_in_flight)", "{{service}}"),)),
            Panel("Queued", (("sum by (service) (headrace_queued)", "{{service}}"),)),
            Panel("Received, not committed", (("sum by (service) (headrace_queued_bytes)", "{{service}}"),), "bytes"),
            Panel("Paused partitions", (("sum by (service) (headrace_paused_partitions)", "{{service}}"),)),
        ),
        (
            Panel("One transaction", quantiles("headrace_commit_seconds", "service", of=("0.5", "0.99")), "s"),
            Panel("Transactions", (rate("headrace_commits_total", "service, outcome"),), "ops"),
            Panel("Inputs in a transaction", quantiles("headrace_commit_records", "service", of=("0.5", "0.99"))),
        ),
        (
            Panel(
                "One attempt in a processor", quantiles("headrace_handle_seconds", "service", of=("0.5", "0.99")), "s"
            ),
            Panel("Retries in the lane", (rate("headrace_retries_total", "service, topic"),), "ops"),
            Panel("Removed, their time being over", (rate("headrace_forgotten_total", "what"),), "ops"),
            Panel("Moved to the blob store", (rate("headrace_claim_checks_total", "service"),), "ops"),
        ),
        (
            Panel("Deliveries", (rate("headrace_ingest_deliveries_total", "form, outcome"),), "ops"),
            Panel("Usage: runs read", (rate("headrace_usage_runs_total", "outcome"),), "ops"),
            Panel("Usage: open windows", (("sum(headrace_usage_open_windows)", "windows"),)),
            Panel("Usage: windows said", (("sum(rate(headrace_usage_windows_total" + RATE + "))", "windows"),), "ops"),
            Panel("Spans to the collector", (rate("headrace_spans_total", "outcome"),), "ops"),
        ),
        (
            Panel("Refused by a rate limit", (rate("headrace_gateway_limited_total", "door"),), "reqps"),
            Panel("Pieces of live answers", (rate("headrace_advisory_records_total", "service, outcome"),), "ops"),
            Panel("Gateway's answer", quantiles("headrace_gateway_seconds", "route", of=("0.5", "0.99")), "s"),
            Panel(
                "Log lines of the pipeline",
                (('{service=~"ingest|reasoning|tools|orchestration|persistence|replay|audit|analytics"}', ""),),
                form="logs",
            ),
        ),
    ),
)

DASHBOARDS: Final = (OVERVIEW, AGENTS, WORKFLOWS, INFRASTRUCTURE, PIPELINE)


def main(folder: Path) -> None:
    for dashboard in DASHBOARDS:
        name = dashboard.title.lower().replace(" ", "-") + ".json"
        (folder / name).write_text(render(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
