"""Workflows: graphs of agents, tools, tasks, waits and conditions, with versions that never change.

    definition, check, load    what a workflow is, and whether it may be one
    patching                   a version made from another by JSON Patch
    state, machine             a run, as a pure function: (plan, state, event) -> (state, commands)
    repository, runs           both in Postgres
    works, processor, clock    the machine among records: what comes in, what goes out, and when

The gateway serves them, orchestration runs them. Nothing here knows Kafka or HTTP.
"""
