"""Replays as jobs: rows in Postgres that the gateway and commands write, and that whoever has the lease works on.

    requests    what may be asked for
    states      the life of a job, as a table
    store       asking, looking, cancelling, resuming
    leases      taking a job, telling how far it is, ending it
    items       the list that a job goes through, and what came of each

What a request means, and the work itself, is ``headrace.replay``'s.
"""
