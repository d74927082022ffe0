-- Sessions: whose turn it is, and what each run left behind.

-- Coordination: one row a run that is in line or has its turn, in order of arrival. It is over when the index has the run's
-- result, at the latest at held_until; nobody has to give it back, so a process that dies leaves nothing locked.
CREATE TABLE session_queue (
    tenant TEXT NOT NULL,
    session_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    place BIGINT GENERATED ALWAYS AS IDENTITY,
    held_until TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, session_id, run_id)
);

-- Made from results, and can be made again from them: a session is what its newest run left.
CREATE TABLE session_runs (
    tenant TEXT NOT NULL,
    session_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    turns INTEGER NOT NULL, -- runs in the conversation after this one
    agent_name TEXT,
    status TEXT NOT NULL,
    completed_at TIMESTAMPTZ NOT NULL,
    head TEXT, -- newest segment of the conversation after this run
    stored INTEGER NOT NULL, -- entries in it
    result_ref TEXT,
    pipeline_usage JSONB NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

CREATE INDEX idx_session_runs_session ON session_runs (tenant, session_id, turns DESC, completed_at DESC);
