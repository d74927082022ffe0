-- Calls that wait for a Kubernetes Job: its name, and when to look at it next. Without a time there is nothing more to see or to do.

ALTER TABLE wait_calls
    DROP CONSTRAINT wait_calls_kind_check,
    ADD CONSTRAINT wait_calls_kind_check CHECK (kind IN ('approval', 'agent', 'callback', 'timer', 'intent', 'kube_job')),
    ADD COLUMN kube_job TEXT,
    ADD COLUMN look_at TIMESTAMPTZ;

CREATE INDEX idx_wait_calls_look ON wait_calls (look_at) WHERE look_at IS NOT NULL;
