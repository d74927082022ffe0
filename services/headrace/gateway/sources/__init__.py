"""Webhook sources as data: one small YAML file a sender (``load``), checked against ``model``, verified by ``verify``.

A new sender of a known scheme is a new file, here or in ``HEADRACE_SOURCES_DIR``; no code.
"""
