"""``execute_pipeline``: plain rows (lists of dicts) through small primitives, one family a file.

``plan`` reads the steps and finds what is wrong with them before anything is fetched, ``executor`` runs the plan and
stores what is large.
"""
