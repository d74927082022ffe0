-- Runs of workflows by when they ended: those past their time are removed, those without an end are counted.

CREATE INDEX idx_workflow_runs_ended ON workflow_runs (ended_at);
