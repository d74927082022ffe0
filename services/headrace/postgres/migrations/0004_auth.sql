-- Who may use the gateway's API: keys by a digest that needs the pepper to be made, and tokens that were revoked before their end.

CREATE TABLE auth_keys (
    key_id TEXT PRIMARY KEY, -- the part of a key that is no secret
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'developer', 'viewer')),
    digest BYTEA NOT NULL, -- HMAC-SHA-256 of the whole key under the pepper: auth/keys.py
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);

CREATE INDEX idx_auth_keys_tenant ON auth_keys (tenant, created_at DESC);

CREATE TABLE auth_revoked_tokens (
    jti TEXT PRIMARY KEY,
    revoked_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL -- from then on the token is refused for its age, and this row may go
);
