-- Replays become jobs: asked for, planned, leased by whoever works on them, and told of while they go on.

ALTER TABLE replays
    ADD COLUMN kind TEXT NOT NULL DEFAULT 'shadow' CHECK (kind IN ('shadow', 'rerun')),
    ADD COLUMN request JSONB, -- control/replays/requests.py; NULL: begun before replays were jobs
    ADD COLUMN started_by TEXT NOT NULL DEFAULT '',
    ADD COLUMN detached BOOLEAN NOT NULL DEFAULT false, -- for the service; else a command works on it
    ADD COLUMN follows BOOLEAN NOT NULL DEFAULT false, -- goes on with the live tail
    ADD COLUMN dry_run BOOLEAN NOT NULL DEFAULT false, -- stops when it is planned
    ADD COLUMN confirmed BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN estimate JSONB,
    ADD COLUMN progress JSONB,
    ADD COLUMN spent_usd DOUBLE PRECISION NOT NULL DEFAULT 0,
    ADD COLUMN error TEXT,
    ADD COLUMN page TEXT, -- the report as HTML
    ADD COLUMN holder TEXT,
    ADD COLUMN lease_until TIMESTAMPTZ,
    ADD COLUMN began_at TIMESTAMPTZ,
    ADD COLUMN ended_at TIMESTAMPTZ,
    ALTER COLUMN plan DROP NOT NULL,
    DROP CONSTRAINT replays_state_check,
    ADD CONSTRAINT replays_state_check CHECK (state IN ('queued', 'planned', 'running', 'completed', 'failed', 'cancelled'));

UPDATE replays SET began_at = created_at, ended_at = CASE WHEN state = 'completed' THEN updated_at END, confirmed = true;

CREATE INDEX idx_replays_open ON replays (created_at) WHERE detached AND state IN ('queued', 'running');
