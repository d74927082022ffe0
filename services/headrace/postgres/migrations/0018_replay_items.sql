-- Replays of further kinds: which there are, control/replays/requests.py says. Those that go through a list have it here until they end.

ALTER TABLE replays DROP CONSTRAINT replays_kind_check;

CREATE TABLE replay_items (
    tenant TEXT NOT NULL,
    replay_id TEXT NOT NULL,
    number BIGINT NOT NULL, -- in the order of the work, from 1
    item TEXT NOT NULL, -- such as a run's id
    done_at TIMESTAMPTZ,
    refused TEXT, -- why this one can't be done; it is done with then
    PRIMARY KEY (tenant, replay_id, number),
    FOREIGN KEY (tenant, replay_id) REFERENCES replays ON DELETE CASCADE
);
