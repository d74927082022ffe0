-- What model calls may use. Budgets and leases can't be made again from records; accounts can, and always are: they are counted by
-- triggers, with the very rows of runs that persistence writes, so that an account is at any moment the sum of its runs. What is counted of
-- a run is what its newest record says that it has used, so each turn counts once however often and in what order records are read.

CREATE TABLE budgets (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('tenant', 'agent', 'session', 'run')),
    agent TEXT, -- whose runs count; NULL: everybody's
    "window" TEXT NOT NULL CHECK ("window" IN ('day', 'month', 'total')),
    tokens BIGINT,
    usd DOUBLE PRECISION,
    changed_by TEXT NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- subject: the agent, the session, or '' of a tenant. period: 2026-11-26, 2026-11 or total, of when a run began (UTC).
CREATE TABLE budget_accounts (
    tenant TEXT NOT NULL,
    budget TEXT NOT NULL,
    subject TEXT NOT NULL,
    period TEXT NOT NULL,
    tokens BIGINT NOT NULL DEFAULT 0,
    nano BIGINT NOT NULL DEFAULT 0, -- billionths of a US dollar
    PRIMARY KEY (tenant, budget, subject, period)
);

-- What a process holds of what is left: used and not filed yet, reserved for calls under way, or taken in advance.
CREATE TABLE budget_leases (
    tenant TEXT NOT NULL,
    budget TEXT NOT NULL,
    subject TEXT NOT NULL,
    period TEXT NOT NULL,
    holder UUID NOT NULL,
    tokens BIGINT NOT NULL,
    nano BIGINT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, budget, subject, period, holder)
);

-- The accounts that a run counts for: the same as budgets/rules.py says.
CREATE FUNCTION budget_accounts_of(whose TEXT, by_agent TEXT, in_session TEXT, began TIMESTAMPTZ)
RETURNS TABLE (budget TEXT, subject TEXT, period TEXT) LANGUAGE sql STABLE AS $$
    SELECT found.* FROM (
        SELECT
            name,
            CASE scope WHEN 'tenant' THEN '' WHEN 'agent' THEN by_agent WHEN 'session' THEN in_session END AS subject,
            CASE "window"
                WHEN 'day' THEN to_char(began AT TIME ZONE 'UTC', 'YYYY-MM-DD')
                WHEN 'month' THEN to_char(began AT TIME ZONE 'UTC', 'YYYY-MM')
                ELSE 'total'
            END
        FROM budgets
        WHERE tenant = whose AND (agent IS NULL OR agent = by_agent)
    ) AS found
    WHERE found.subject IS NOT NULL
$$;

-- Whoever sets a budget counts what there is behind this lock; whoever files runs holds it shared, so that nothing is missed in between.
CREATE FUNCTION budget_lock(shared BOOLEAN) RETURNS VOID LANGUAGE sql AS $$
    SELECT CASE WHEN shared THEN pg_advisory_xact_lock_shared(7521983764) ELSE pg_advisory_xact_lock(7521983764) END
$$;

-- What a run has used. Records may come from strangers: whatever they say, sums stay within what a bigint holds.
CREATE FUNCTION budget_tokens(used_input BIGINT, used_output BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE AS $$
    SELECT least(greatest(coalesce(used_input, 0), 0), 1000000000000) + least(greatest(coalesce(used_output, 0), 0), 1000000000000)
$$;
CREATE FUNCTION budget_nano(usd DOUBLE PRECISION) RETURNS BIGINT LANGUAGE sql IMMUTABLE AS $$
    SELECT round(least(greatest(coalesce(usd, 0), 0), 1000000) * 1e9)::bigint
$$;

CREATE FUNCTION budget_count_inserted() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM budget_lock(true);
    IF EXISTS (SELECT FROM budgets) THEN
        INSERT INTO budget_accounts AS account (tenant, budget, subject, period, tokens, nano)
        SELECT
            run.tenant, drawn.budget, drawn.subject, drawn.period,
            sum(budget_tokens(run.input_tokens, run.output_tokens)), sum(budget_nano(run.cost_usd))
        FROM filed AS run, budget_accounts_of(run.tenant, run.agent_name, run.session_id, run.created_at) AS drawn
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (tenant, budget, subject, period)
        DO UPDATE SET tokens = account.tokens + excluded.tokens, nano = account.nano + excluded.nano;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION budget_count_updated() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM budget_lock(true);
    IF EXISTS (SELECT FROM budgets) THEN
        INSERT INTO budget_accounts AS account (tenant, budget, subject, period, tokens, nano)
        SELECT
            run.tenant, drawn.budget, drawn.subject, drawn.period,
            sum(run.sign * budget_tokens(run.input_tokens, run.output_tokens)), sum(run.sign * budget_nano(run.cost_usd))
        FROM (
            SELECT 1 AS sign, tenant, agent_name, session_id, created_at, input_tokens, output_tokens, cost_usd FROM filed
            UNION ALL
            SELECT -1, tenant, agent_name, session_id, created_at, input_tokens, output_tokens, cost_usd FROM replaced
        ) AS run, budget_accounts_of(run.tenant, run.agent_name, run.session_id, run.created_at) AS drawn
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (tenant, budget, subject, period)
        DO UPDATE SET tokens = account.tokens + excluded.tokens, nano = account.nano + excluded.nano;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION budget_count_nothing() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budget_accounts SET tokens = 0, nano = 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER budget_count_inserted AFTER INSERT ON runs
REFERENCING NEW TABLE AS filed FOR EACH STATEMENT EXECUTE FUNCTION budget_count_inserted();
CREATE TRIGGER budget_count_updated AFTER UPDATE ON runs
REFERENCING NEW TABLE AS filed OLD TABLE AS replaced FOR EACH STATEMENT EXECUTE FUNCTION budget_count_updated();
CREATE TRIGGER budget_count_nothing AFTER TRUNCATE ON runs FOR EACH STATEMENT EXECUTE FUNCTION budget_count_nothing();
