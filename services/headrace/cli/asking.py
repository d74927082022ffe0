"""Asking the gateway through ``headrace.client``: what its errors mean to whoever ran a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.cli.output import stop
from headrace.cli.target import NO_CREDENTIAL


@contextmanager
def asking() -> Iterator[None]:
    """Around calls of a client. Raises ``Exit``: 3 nobody answers, 2 a bad request, 4 no such thing, 1 anything else."""
    from headrace.client import HeadraceError, InvalidCredential, InvalidRequest, NotFound, Unavailable, Unreachable

    try:
        yield
    except Unreachable as error:
        raise stop(str(error), 3) from None
    except InvalidRequest as error:
        raise stop(error.message, 2) from None
    except NotFound as error:
        raise stop(error.message, 4) from None
    except InvalidCredential:
        raise stop(NO_CREDENTIAL, 1) from None
    except Unavailable as error:
        raise stop(error.message, 3 if error.status == 503 else 1) from None
    except HeadraceError as error:
        raise stop(str(error), 1) from None
