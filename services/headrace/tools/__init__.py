"""The tools service: ``tool.calls`` -> ``tool.results``. It runs what models asked for, within what their agents may
do.
"""
