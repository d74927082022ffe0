"""Guarded HTTP: the only way out of the mesh for an address that a model, an event or a tool's argument named.

What it holds, each in its own file and each checked again on every redirect:

- ``urls``       the URL is plain http(s) without credentials, its host a canonical name or address, its port allowed;
- ``domains``    the host is on the caller's allow-list, before anything is looked up (a DNS query is a leak too);
- ``backend``    the name is resolved once, *every* address it has must be public (``addresses``), and an address that
was checked is what is dialled, so a second answer of the DNS changes nothing; TLS is still verified against the name;
- ``body``       the answer is bounded in decompressed bytes while it streams.

It knows nothing of tools, agents or runs. It keeps no cookies, reads no proxy, netrc or certificate settings from the
environment.
"""

from headrace.egress.client import GuardedClient, GuardedResponse
from headrace.egress.errors import EgressDenied, EgressError, EgressFailed
from headrace.egress.policy import EgressPolicy, EgressSettings

__all__ = [
    "EgressDenied",
    "EgressError",
    "EgressFailed",
    "EgressPolicy",
    "EgressSettings",
    "GuardedClient",
    "GuardedResponse",
]
