"""How commands speak: data on stdout (tables, or JSON with ``--json``), everything else on stderr.

A reader that has seen enough (``| head -1``) ends the command silently and with success: ``BrokenPipeError`` goes up from here
to ``app.run``, through everything that the command has to close.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import orjson

from headrace.cli import tables


class Exit(Exception):
    """End the command with this exit code; whatever had to be said is said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def fail(message: str, code: int) -> int:
    """Say what is wrong, on stderr; the code."""
    print(f"headrace: {tables.printable(message)}", file=sys.stderr)
    return code


def stop(message: str, code: int) -> Exit:
    """``raise stop(...)``: say what is wrong and end."""
    return Exit(fail(message, code))


def quiet_logs() -> None:
    """A command says itself what matters: of the logs of what it calls it lets errors through."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)


def note(message: str) -> None:
    """Something beside the data, on stderr."""
    print(tables.printable(message), file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document."""
    print(orjson.dumps(value, default=_default, option=orjson.OPT_INDENT_2).decode())


def print_json_line(value: Any) -> None:
    """One line of a stream of JSON documents, flushed."""
    print(orjson.dumps(value, default=_default).decode(), flush=True)


def _default(value: Any) -> Any:
    if (plain := tables.plain(value)) is not value:
        return plain
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)


def width() -> int | None:
    """Columns of the terminal that stdout is; None where it is a pipe or a file, which have no width."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str = "nothing",
    whole: Collection[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """A table, as ``tables.table`` lays it out; where there are no rows, ``empty`` on stderr."""
    rows = list(rows)
    if rows:
        print(tables.table(columns, rows, width=width(), whole=whole, spare=spare))
    else:
        note(empty)


def print_facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each."""
    print(tables.facts(pairs, width=width()))


def print_text(text: str, *, fresh: bool) -> None:
    """A piece of running text, flushed; ``fresh``: on a new line."""
    lines = text.split("\n")
    print("\n" * fresh + "\n".join(map(tables.printable, lines)), end="", flush=True)


def print_line(text: str) -> None:
    """One line, cut to the terminal; flushed."""
    print(tables.clipped(tables.printable(text), width()), flush=True)
