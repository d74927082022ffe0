"""The health check of a container: ``python -m headrace.host.healthcheck [PATH]``.

Asks this container's operations endpoint, on ``HEADRACE_OPS_PORT`` of loopback, for ``/readyz`` (or the path given). Exit code 0
when the answer is 200, 1 for any other answer or none, 2 when no fixed port is set. Standard library only: it runs often.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

_TIMEOUT_S: Final = 2.0


def check(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code."""
    port = environ.get("HEADRACE_OPS_PORT", "")
    if not port.isdigit() or not 0 < int(port) < 65_536:
        sys.stderr.write("healthcheck: HEADRACE_OPS_PORT must be the fixed port of the operations endpoint\n")
        return 2
    path = arguments[0] if arguments else "/readyz"
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"healthcheck: {path}: {type(error).__name__}\n")
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        sys.stderr.write(f"healthcheck: {path} answers {status}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(check(sys.argv[1:], os.environ))
