"""Replays as jobs: what a request means, and the work on it, wherever it is done.

    settle      a request becomes a plan
    progress    how far a job is, at what rate
    keep        work on a job for as long as it is held
    shadow      a shadow replay from its plan to its report
    rerun       stored runs over their records again
    walk        going through the list of a job at a rate
    bulk        many runs begun again, or cancelled
    reprice     runs at other prices
    redrive     dead letters sent back
    indexes     the index made again beside the live one, swapped in, dropped
    held        what work of any kind is given
    work        the table of kinds, and what becomes of a job's errors
    helping     further processes on a job
    child       a job in a process of its own; ``python -m headrace.replay.jobs`` is that process
    service     takes jobs, one at a time unless set otherwise

A command works on its own job in its own process, the service in a child for each: neither's figures are a live service's.
"""
