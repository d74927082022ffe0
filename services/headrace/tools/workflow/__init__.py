"""``patch_workflow``: the orchestrator's API seen from a tool."""
