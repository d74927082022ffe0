-- Usage windows: what analytics counts from the audit log.
--
-- Each partition of the audit log counts apart (usage_parts), so that any number of processes may share the work; a window is the
-- sum of its parts. usage_windows is also the outbox of the topic usage.windows: what has published < revision is to be announced.

CREATE TABLE usage_parts (
    tenant TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    window_seconds INTEGER NOT NULL,
    part TEXT NOT NULL, -- audit partition/source topic/source partition
    last_offset BIGINT NOT NULL, -- of the audit log, up to which totals are counted: never goes back
    totals JSONB NOT NULL, -- messages/totals.py
    PRIMARY KEY (tenant, agent_name, window_start, window_seconds, part)
);

CREATE TABLE usage_windows (
    tenant TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    window_seconds INTEGER NOT NULL,
    window_end TIMESTAMPTZ NOT NULL,
    runs BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    error_rate DOUBLE PRECISION NOT NULL DEFAULT 0,
    input_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    cost_usd DOUBLE PRECISION NOT NULL DEFAULT 0,
    latency_p50_ms DOUBLE PRECISION,
    latency_p95_ms DOUBLE PRECISION,
    latency_p99_ms DOUBLE PRECISION,
    totals JSONB NOT NULL DEFAULT '{}',
    revision BIGINT NOT NULL DEFAULT 0,
    published BIGINT NOT NULL DEFAULT 0, -- the revision that usage.windows has
    final BOOLEAN NOT NULL DEFAULT false,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, agent_name, window_start, window_seconds)
);

CREATE INDEX idx_usage_windows_start ON usage_windows (tenant, window_start);
CREATE INDEX idx_usage_windows_unpublished ON usage_windows (window_start) WHERE published < revision;
CREATE INDEX idx_usage_windows_open ON usage_windows (window_end) WHERE NOT final;

-- How far each part is: windows that end before closed_ms get nothing more from it.
CREATE TABLE usage_progress (
    part TEXT PRIMARY KEY,
    closed_ms BIGINT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
