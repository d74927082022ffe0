"""Persistence: every record of the flow into the index of runs in Postgres. See ``persistence.processor``."""
