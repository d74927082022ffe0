"""Forks: a new run that takes another one's records up to a step and goes on from there, perhaps with something changed.

``plan`` decides, purely, from the records; ``records`` finds them by the index of runs.
"""
