"""The project's pages, taken apart: headings, links, fenced blocks; and shell blocks run with stand-ins for every command.

A shell block is really run by bash, so that its quoting, substitutions and variables count, but nothing in it does anything:
`headrace`, `curl`, `kcat` and `make` are functions that write down how they were called, a few harmless tools are real, and
everything else is noted and skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE: Final = re.compile(r"^```(.*)$")
_REAL_TOOLS: Final = ("cat", "cut", "date", "openssl", "sed")
SECRET: Final = "a-secret-of-the-documents"

_STANDINS: Final = r"""
note() { printf '%s\0' "$@" $'\x1e' >> "$NOTES"; }
headrace() { note headrace "$@"; }
make() { note make "$@"; }
jq() { cat > /dev/null; echo 11111111-1111-4111-8111-111111111111; }
curl() { note curl "$@"; echo '{}'; }
kcat() { note kcat "$@" "$(cat)"; }
command_not_found_handle() { note skipped "$@"; }
"""


@dataclass(frozen=True)
class Block:
    """A fenced block. ``info`` is what follows the fence, such as ``sh`` or ``json agent.jobs``."""

    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list[Block]:
    """All blocks of all pages in one of these languages."""
    return [block for page in PAGES for block in _blocks(page) if block.info.partition(" ")[0] in languages]


def _blocks(page: Path) -> Iterator[Block]:
    start, info, lines = 0, "", list[str]()
    for number, line in enumerate(text_of(page).split("\n"), 1):
        fence = _FENCE.match(line)
        if fence and not start:
            start, info, lines = number, fence[1].strip(), []
        elif fence:
            yield Block(page, start, info, "\n".join(lines))
            start = 0
        elif start:
            lines.append(line)
    assert not start, f"{page}:{start}: a fence that never ends"


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings make, as GitHub derives them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        copies = sum(slug == known or re.fullmatch(re.escape(slug) + r"-\d+", known) is not None for known in found)
        found.add(f"{slug}-{copies}" if copies else slug)
    return found


def shell_calls(block: Block, folder: Path) -> list[list[str]]:
    """What a shell block calls, in order. ``folder`` is an empty directory to run it in."""
    tools = folder / "tools"
    tools.mkdir()
    for name in _REAL_TOOLS:
        path = shutil.which(name)
        assert path is not None, f"the documents use {name}"
        (tools / name).symlink_to(path)
    (folder / ".headrace").mkdir()
    (folder / ".headrace" / "secrets.env").write_text(f"HEADRACE_WEBHOOK_SECRET_GITHUB={SECRET}\n")
    notes = folder / "notes"
    notes.touch()
    done = subprocess.run(
        [shutil.which("bash") or "bash", "--norc", "-c", _STANDINS + block.text],
        cwd=folder,
        env={"PATH": str(tools), "NOTES": str(notes), "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "syntax error" not in done.stderr, f"{block}: {done.stderr}"
    return [call.split("\0")[:-1] for call in notes.read_text().split("\x1e\0")[:-1]]
