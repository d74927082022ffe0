-- What is said to runs from outside: that one has to end, and whose turn it is. Neither can be made again from records.

CREATE TABLE cancellations (
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, run_id)
);

CREATE INDEX idx_cancellations_age ON cancellations (requested_at);

-- A turn is held until its run has ended (by the index), at most until held_until; while it is not published, only until
-- unpublished_until, so that a gateway that dies in between blocks nobody for long.
CREATE TABLE turns (
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    run_id TEXT NOT NULL,
    published BOOLEAN NOT NULL DEFAULT false,
    unpublished_until TIMESTAMPTZ NOT NULL,
    held_until TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

CREATE INDEX idx_turns_agent ON turns (tenant, agent);
