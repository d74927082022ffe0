-- Shadow replays: what each one is, so that one that was cut off is taken up as it was begun, and what came of it.

CREATE TABLE replays (
    tenant TEXT NOT NULL,
    replay_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'completed')),
    agent_name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    plan TEXT NOT NULL, -- replay/shadow/plan.py, as JSON
    report JSONB,
    PRIMARY KEY (tenant, replay_id)
);

CREATE INDEX idx_replays_created ON replays (tenant, created_at DESC);
