"""One function behind three doors: this one; ``headrace agent`` in the shell, which calls it; ``POST /agent``, which it calls."""

from __future__ import annotations

from headrace.client.blocking import Client


def run(prompt: str, *, url: str | None = None, token: str | None = None) -> str:
    """The assistant's answer to ``prompt``. ``url`` and ``token`` are as ``Client`` takes them.

    Raises:
        Unreachable: no gateway answers there.
        Unavailable: the run failed, or has no answer within the gateway's bound.
        InvalidRequest: an empty prompt.
    """
    with Client(url, token=token) as client:
        return client.ask(prompt)
