"""Why a description can't be used, or an operation not be called as asked. The tool adds the code for the model."""

from __future__ import annotations

from headrace.messages.errors import HeadraceError


class SpecProblem(HeadraceError):
    """The description is not usable; asking again changes nothing."""


class BadParams(HeadraceError):
    """The operation exists and ``params`` don't fit it; the text says what would."""
