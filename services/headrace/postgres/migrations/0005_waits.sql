-- Runs that wait, and what each of them waits for. These rows can't be made again from records alone once those are past their
-- retention: back them up. A closed wait is kept for a while, since a record that is read again has to find it.

CREATE TABLE waits (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    step INTEGER NOT NULL,
    round INTEGER NOT NULL,
    agent TEXT NOT NULL,
    parked_at TIMESTAMPTZ NOT NULL, -- the record's timestamp
    record BYTEA NOT NULL, -- the run.waits message, as JSON
    correlation JSONB NOT NULL, -- headers that go along: correlation id and trace
    closed_by TEXT, -- position of the record that settled the last call
    closed_at TIMESTAMPTZ, -- that record's timestamp
    cancelled BOOLEAN NOT NULL DEFAULT false, -- whether the run was cancelled when it closed
    PRIMARY KEY (tenant, run_id, step, round)
);

CREATE INDEX idx_waits_closed ON waits (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE wait_calls (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    step INTEGER NOT NULL,
    round INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    pending_id UUID NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('approval', 'agent', 'callback', 'timer', 'intent')),
    tool TEXT NOT NULL,
    arguments_hash TEXT NOT NULL,
    child_run_id TEXT,
    deadline TIMESTAMPTZ NOT NULL,
    swept_at TIMESTAMPTZ, -- when its completion was last published
    settled_by TEXT, -- position of the record that settled it
    settled_at TIMESTAMPTZ,
    state TEXT NOT NULL DEFAULT 'pending',
    decided_by TEXT,
    reason TEXT,
    settled BYTEA, -- what the run goes on with, as JSON
    PRIMARY KEY (tenant, run_id, step, round, call_id),
    FOREIGN KEY (tenant, run_id, step, round) REFERENCES waits ON DELETE CASCADE
);

CREATE INDEX idx_wait_calls_due ON wait_calls (deadline) WHERE settled_by IS NULL;
CREATE INDEX idx_wait_calls_child ON wait_calls (tenant, child_run_id) WHERE child_run_id IS NOT NULL;
CREATE INDEX idx_wait_calls_kind ON wait_calls (tenant, kind, deadline DESC, pending_id DESC);

-- Calls of tools with the effect once: written before the call, completed after it. The key is the call's idempotency key.
CREATE TABLE tool_intents (
    key TEXT PRIMARY KEY,
    round INTEGER NOT NULL, -- in which it was begun
    outcome BYTEA, -- null: not known
    begun_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX idx_tool_intents_age ON tool_intents USING brin (begun_at);

ALTER TABLE run_steps DROP CONSTRAINT run_steps_kind_check;
ALTER TABLE run_steps ADD CONSTRAINT run_steps_kind_check CHECK (kind IN ('job', 'tool_calls', 'tool_results', 'wait', 'result'));

ALTER TABLE runs ADD COLUMN parent_run_id TEXT;
ALTER TABLE runs ADD COLUMN root_run_id TEXT;
CREATE INDEX idx_runs_family ON runs (tenant, root_run_id, created_at) WHERE root_run_id IS NOT NULL;
