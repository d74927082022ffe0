-- Forks: which run, and at which step, a run was forked from.

ALTER TABLE runs ADD COLUMN forked_from TEXT;
ALTER TABLE runs ADD COLUMN forked_step INTEGER;

CREATE INDEX idx_runs_forked_from ON runs (tenant, forked_from) WHERE forked_from IS NOT NULL;
