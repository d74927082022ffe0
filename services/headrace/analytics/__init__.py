"""Usage by tenant and agent, counted from the audit log in windows of time.

    audit.events --> runtime.faust_app (table + changelog) --> Postgres (parts summed to windows) --> usage.windows

What is guaranteed: an entry of the audit log that is in time for its window is counted exactly once, whatever is killed when. That
stands on three things: counting is keyed by offset (``windows``), the changelog has a count before its offset is committed
(``processor``), and sums are made of parts that never go back (``store``). What is announced on ``usage.windows`` comes at least
once; the revision tells. Nothing waits for any of it: analytics is off the path of runs.
"""
