"""A2A: other agents find the mesh's agents by their cards, and give them tasks over JSON-RPC.

A task is a run, its id the run's; a context is a session. ``dialects`` has what versions 0.3 and 1.0 of the protocol call things
(pure), ``cards`` the description of an agent, ``door`` the endpoints.
"""
