-- What pipelines led to: results that may be given again, how often each was used, and the composite tools that came of it.
--
-- Cached results and uses can be lost: a result is computed again, a pipeline is counted anew. What an operator decided can't.

CREATE TABLE pipeline_cache (
    tenant TEXT NOT NULL,
    key BYTEA NOT NULL, -- SHA-256: toolbox/canonical.py
    content BYTEA NOT NULL, -- the result as the model got it, as JSON; its rows are a blob
    stored_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE INDEX idx_pipeline_cache_age ON pipeline_cache (expires_at);

-- Each pipeline that was used. A promoted one is a composite tool.
CREATE TABLE pipelines (
    tenant TEXT NOT NULL,
    digest BYTEA NOT NULL, -- SHA-256 of the canonical steps
    name TEXT NOT NULL,
    description TEXT NOT NULL, -- made of checked words, or an operator's: never a model's text
    steps TEXT NOT NULL, -- canonical JSON
    agents TEXT NOT NULL DEFAULT '', -- who used it, for the search
    state TEXT NOT NULL DEFAULT 'used' CHECK (state IN ('used', 'promoted', 'demoted')),
    decided_by TEXT CHECK (decided_by IN ('use', 'operator')),
    uses BIGINT NOT NULL DEFAULT 0,
    first_used_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_used_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    decided_at TIMESTAMPTZ, -- when it was promoted or demoted
    search TSVECTOR GENERATED ALWAYS AS (
        setweight(to_tsvector('english', translate(name, '_', ' ')), 'A')
        || setweight(to_tsvector('english', translate(description, '_.-', '   ')), 'B')
        || setweight(to_tsvector('english', translate(agents, '_-', '  ')), 'C')
    ) STORED,
    PRIMARY KEY (tenant, digest),
    UNIQUE (tenant, name)
);

CREATE INDEX idx_pipelines_search ON pipelines USING gin (search);
CREATE INDEX idx_pipelines_decided ON pipelines (decided_at) WHERE decided_at IS NOT NULL;

-- One row a tool call: a record that is read again counts once. The provenance of composite tools, as long as they are kept.
CREATE TABLE pipeline_uses (
    tenant TEXT NOT NULL,
    call_key TEXT NOT NULL, -- the call's idempotency key
    digest BYTEA NOT NULL,
    run_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    used_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, call_key)
);

CREATE INDEX idx_pipeline_uses_pipeline ON pipeline_uses (tenant, digest, used_at);
CREATE INDEX idx_pipeline_uses_age ON pipeline_uses USING brin (used_at);

-- Tenants for which no pipeline is promoted by use and no composite tool is offered.
CREATE TABLE promotion_off (
    tenant TEXT PRIMARY KEY,
    since TIMESTAMPTZ NOT NULL DEFAULT now()
);
