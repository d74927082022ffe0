-- The index of runs, results and events, and the two stores that coordinate: claims and blobs.
--
-- Rows of runs, run_steps, agent_results and events are made from records and can be made again from them; claims and blobs
-- can't. Large values are not compressed by Postgres where speed counts more (blobs); lz4 is not in every build of it.

CREATE TABLE runs (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    precedence BIGINT NOT NULL, -- of the newest record merged into this row: see persistence/merge.py
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'completed', 'failed')),
    agent_name TEXT,
    agent_version TEXT,
    definition_hash TEXT,
    prompt_hash TEXT,
    model TEXT,
    event_uid TEXT,
    event_type TEXT,
    event_source TEXT,
    event_subject TEXT,
    user_id TEXT,
    session_id TEXT,
    workflow_run_id TEXT,
    node_id TEXT,
    replay_id TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    steps INTEGER,
    tool_calls INTEGER,
    model_calls BIGINT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    cost_usd DOUBLE PRECISION,
    latency_ms BIGINT,
    error JSONB,
    input_preview JSONB,
    outcome JSONB,
    result_ref TEXT,
    PRIMARY KEY (tenant, run_id)
) WITH (fillfactor = 80); -- room for the updates of a run's later records on the same page

CREATE INDEX idx_runs_created ON runs (tenant, created_at DESC, run_id DESC);
CREATE INDEX idx_runs_agent ON runs (tenant, agent_name, created_at DESC, run_id DESC);
CREATE INDEX idx_runs_event ON runs (event_uid) WHERE event_uid IS NOT NULL;

CREATE TABLE run_steps (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('job', 'tool_calls', 'tool_results', 'result')),
    step INTEGER NOT NULL,
    at TIMESTAMPTZ NOT NULL, -- the record's timestamp
    bytes INTEGER NOT NULL, -- of the record's key, value and headers
    summary JSONB NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);

CREATE INDEX idx_run_steps_run ON run_steps (tenant, run_id);

-- The columns of protocol v1.0; the tenant is an addition, since job ids are unique within one only.
CREATE TABLE agent_results (
    result_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id TEXT NOT NULL,
    run_id TEXT NOT NULL, -- the caller's workflow run, '' if it named none
    node_id TEXT NOT NULL,
    result_data JSONB,
    cas_id TEXT,
    s3_ref TEXT,
    status TEXT NOT NULL,
    error JSONB,
    tool_calls JSONB,
    tokens_used INTEGER,
    cache_hit BOOLEAN DEFAULT false,
    execution_time_ms INTEGER,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    completed_at TIMESTAMPTZ,
    tenant TEXT NOT NULL DEFAULT 'default',
    UNIQUE (tenant, job_id)
);

CREATE INDEX idx_agent_results_job_id ON agent_results (job_id);
CREATE INDEX idx_agent_results_run_id ON agent_results (run_id);
CREATE INDEX idx_agent_results_created_at ON agent_results (created_at DESC);

CREATE TABLE events (
    uid TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    time TIMESTAMPTZ, -- as the sender says; null if it is not a time
    received_at TIMESTAMPTZ NOT NULL,
    partition_key TEXT NOT NULL,
    actor TEXT,
    url TEXT,
    severity TEXT,
    data_preview JSONB,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL
);

CREATE INDEX idx_events_received ON events (tenant, received_at DESC, uid DESC);
CREATE INDEX idx_events_type ON events (tenant, type, received_at DESC, uid DESC);

CREATE TABLE claims (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    position TEXT NOT NULL,
    digest TEXT NOT NULL,
    claimed_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE INDEX idx_claims_age ON claims USING brin (claimed_at);

-- What ingest has seen: each delivery that was the first of its id.
CREATE VIEW deliveries AS
    SELECT scope, key AS delivery_id, position, digest, claimed_at AS seen_at
    FROM claims
    WHERE scope LIKE 'delivery:%';

CREATE TABLE blobs (
    ref BYTEA PRIMARY KEY, -- SHA-256 of the bytes
    bytes BYTEA NOT NULL,
    size BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Measured on JSON text: without compression a write takes half to a third of the time, for 1.5 times the space.
ALTER TABLE blobs ALTER COLUMN bytes SET STORAGE EXTERNAL;
