"""Tables as text: compact on a terminal, whole in a pipe.

On a terminal a table never takes more than its width: first the columns that matter least are left out (and named below the
table), then the widest cells are cut, with an ellipsis; what one copies from a table, such as an id, never is. In a pipe every
row is one line with everything in it, for ``grep`` and ``awk``. Nothing here prints, or knows what a cell means.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson
from rich.cells import cell_len, set_cell_size

from headrace.messages.base import Part

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GAP: Final = "  "
_NARROWEST: Final = 12  # a cell is not cut below this


def printable(text: str) -> str:
    """Text from outside, with the characters taken out that would steer a terminal."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))


def plain(value: object) -> object:
    """What a message or a model of pydantic's is as JSON; any other value as it is."""
    if isinstance(value, Part):
        return value.plain()
    dump = getattr(value, "model_dump", None)  # by its name: pydantic takes long to import, and most commands don't
    return dump(mode="json") if dump else value


def cell(value: object) -> str:
    """A value as a table shows it. May have several lines."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.3g}"
    value = plain(value)
    if isinstance(value, Mapping | list | tuple):
        return printable(orjson.dumps(value, default=str).decode())
    return printable(str(value))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    width: int | None = None,
    whole: Collection[str] = (),
    spare: Sequence[str] = (),
) -> str:
    """Lines of a table: titles, then a line a row.

    ``width`` in terminal cells, None for a pipe. ``whole`` columns are never cut; ``spare`` ones are left out in this order where
    it gets narrow.
    """
    cells = [list(columns), *([" ".join(cell(value).split()) for value in row] for row in rows)]
    kept = list(range(len(columns)))
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    left_out = []
    if width is not None:
        for name in spare:
            if _total(widths, kept) <= width:
                break
            kept.remove(columns.index(name))
            left_out.append(name)
        _cut(widths, [index for index in kept if columns[index] not in whole], _total(widths, kept) - width)
    lines = [_GAP.join(_fit(row[index], widths[index]) for index in kept).rstrip() for row in cells]
    if left_out:
        lines.append(f"(not shown: {', '.join(left_out)}; a wider terminal, a pipe or --json shows them)")
    return "\n".join(lines)


def facts(pairs: Iterable[tuple[str, object]], *, width: int | None = None) -> str:
    """Names and values, a line each; a value of several lines is indented, and on a terminal also wrapped."""
    shown = [(name, cell(value)) for name, value in pairs]
    indent = max((cell_len(name) for name, _ in shown), default=0) + len(_GAP)
    lines = []
    for name, value in shown:
        parts = value.splitlines() or [""]
        if width is not None:
            room = max(width - indent, _NARROWEST)
            parts = [part for line in parts for part in (textwrap.wrap(line, room) or [""])]
        heads = [name] + [""] * (len(parts) - 1)
        lines += [(head.ljust(indent) + part).rstrip() for head, part in zip(heads, parts, strict=True)]
    return "\n".join(lines)


def clipped(text: str, width: int | None) -> str:
    """One line that fits ``width``."""
    return text if width is None else _fit(text, min(cell_len(text), width))


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[index] for index in kept) + len(_GAP) * (len(kept) - 1)


def _cut(widths: list[int], candidates: Sequence[int], excess: int) -> None:
    """Take ``excess`` cells away, always from the column that is widest by then."""
    for _ in range(max(excess, 0)):
        widest = max(candidates, key=lambda index: widths[index], default=None)
        if widest is None or widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _fit(text: str, width: int) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""
    return set_cell_size(text, width)
