"""How commands speak: data on stdout (tables, or JSON with ``--json``), everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table


class Exit(Exception):
    """End the command with this exit code; whatever had to be said is said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def fail(message: str, code: int) -> int:
    """Say what is wrong, on stderr; the code."""
    print(f"headrace: {message}", file=sys.stderr)
    return code


def stop(message: str, code: int) -> Exit:
    """``raise stop(...)``: say what is wrong and end."""
    return Exit(fail(message, code))


def print_json(value: Any) -> None:
    """One JSON document."""
    print(orjson.dumps(value, default=_default, option=orjson.OPT_INDENT_2).decode())


def print_json_line(value: Any) -> None:
    """One line of a stream of JSON documents, flushed."""
    print(orjson.dumps(value, default=_default).decode(), flush=True)


def _default(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "nothing") -> None:
    """A plain table. Cells are text from outside: never markup."""
    rows = list(rows)
    console = Console()
    if not rows:
        console.print(empty, style="dim")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell(value)) for value in row))
    console.print(table)


def cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)
