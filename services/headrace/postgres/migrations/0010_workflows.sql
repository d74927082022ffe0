-- Workflows: which there are, each version of them, and their runs. None of it can be made again from records: back it up.

CREATE TABLE workflows (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    owner TEXT NOT NULL,
    live_version INTEGER NOT NULL,
    listens BOOLEAN NOT NULL,           -- whether an event may start it
    every_s INTEGER,                    -- its schedule, and when it is due next
    next_at TIMESTAMPTZ,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, tag)
);

CREATE INDEX idx_workflows_due ON workflows (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE workflow_versions (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,                 -- created, patched, rolled_back
    base_version INTEGER,
    patch_id TEXT NOT NULL,
    request_key TEXT,                   -- of the request that made it: asked again, it is the same version
    operations JSONB,
    description TEXT NOT NULL,
    author TEXT NOT NULL,
    definition JSONB NOT NULL,
    definition_hash TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, tag, version),
    FOREIGN KEY (tenant, tag) REFERENCES workflows
);

CREATE UNIQUE INDEX idx_workflow_versions_request ON workflow_versions (tenant, tag, request_key);

CREATE TABLE workflow_runs (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    tag TEXT NOT NULL,
    version INTEGER NOT NULL,           -- pinned when the run begins
    trigger TEXT NOT NULL,
    user_id TEXT,
    depth INTEGER NOT NULL,
    parent_run_id TEXT,
    parent_work_id TEXT,
    status TEXT NOT NULL,
    state JSONB NOT NULL,
    wakes_at TIMESTAMPTZ,               -- the time that it waits for
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    PRIMARY KEY (tenant, run_id)
) WITH (fillfactor = 70);

CREATE INDEX idx_workflow_runs_wake ON workflow_runs (wakes_at) WHERE wakes_at IS NOT NULL;
CREATE INDEX idx_workflow_runs_newest ON workflow_runs (tenant, started_at DESC, run_id);
CREATE INDEX idx_workflow_runs_tag ON workflow_runs (tenant, tag, started_at DESC);

-- What each event led to, so that a record that is read again leads to the same.
CREATE TABLE workflow_events (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    commands JSONB NOT NULL,
    PRIMARY KEY (tenant, run_id, event_id),
    FOREIGN KEY (tenant, run_id) REFERENCES workflow_runs ON DELETE CASCADE
);
