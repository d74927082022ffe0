"""Behaviour around a tool, one wrapper a file: each takes a ``Run`` and gives a ``Run``. ``registry`` composes them."""
