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
