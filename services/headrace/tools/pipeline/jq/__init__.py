"""``jq_transform {query}``: a jq program over the data so far.

The program is a model's, so it runs in a process of its own that has no environment, can open no file and no socket, and has
bounds on CPU time, memory and output (``child``). Such processes are kept warm; one that overran is killed and replaced (``pool``).
"""
