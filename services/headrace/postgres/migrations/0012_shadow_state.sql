-- What judges said of the answers of shadow replays: a report that is made again pays for no verdict twice. Kept as long as the
-- shadow topics.

CREATE TABLE replay_verdicts (
    tenant TEXT NOT NULL,
    replay_id TEXT NOT NULL,
    evaluator TEXT NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('candidate', 'baseline')),
    event_uid TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('pass', 'fail', 'unparsable')),
    why TEXT NOT NULL,
    cost_usd DOUBLE PRECISION NOT NULL,
    judged_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, replay_id, evaluator, side, event_uid)
);

-- What each turn of a session left, in a shadow replay: the next turn begins with what the last one before it has left. By the place of
-- the event, so a turn that is made again after a kill finds what it found the first time. Live sessions are in session_runs.

CREATE TABLE replay_sessions (
    tenant TEXT NOT NULL,
    replay_id TEXT NOT NULL, -- of the candidate's runs, or of the baseline's
    session_id TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position BIGINT NOT NULL, -- offset of the event
    turns INTEGER NOT NULL,
    head TEXT,
    stored INTEGER NOT NULL,
    result_ref TEXT,
    left_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, replay_id, session_id, partition_key, partition, position)
);
