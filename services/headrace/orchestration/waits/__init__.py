"""Waits: ``run.waits`` parks a run, completions and sub-agents' results settle its pending calls, the last of them sends it on."""
