"""Replay: making again what records led to. So far one form of it, the rebuild of a service's tables (``replay.rebuild``)."""
