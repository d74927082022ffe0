"""Webhook sources as data: one small YAML file a sender (``load``), checked against ``model``, judged as ``verify`` says.

A new sender of a known scheme is a new file, here or in ``HEADRACE_SOURCES_DIR``, and its ``examples``; no code.
"""
