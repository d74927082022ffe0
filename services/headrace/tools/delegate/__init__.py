"""``delegate_to_agent``: one tool, a target for each type of agent."""
