"""YAML as people mean it: the scalars of YAML 1.2's JSON-like core, with the C parser of PyYAML.

Plain PyYAML speaks YAML 1.1, where ``no`` is False, ``12:30`` is 750, ``010`` is 8 and ``2024-01-01`` is a date. Here only
``true``, ``false``, ``null`` and JSON's numbers are anything but text, so a definition means what it says. Duplicate keys are
refused (PyYAML keeps the last one), and so are documents that aliases would blow up.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_BYTES = 262_144
_MAX_NODES = 20_000
_MAX_DEPTH = 100  # the C composer recurses: deep enough nesting ends the process


class YamlProblem(ValueError):
    """Text that is not one acceptable YAML document; ``line`` counts from 1, None if unknown."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class _Loader(yaml.CSafeLoader):
    """The safe loader without the scalars of YAML 1.1; the ones that are wanted are added below."""


_Loader.yaml_implicit_resolvers = {}


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"),
    list("-0123456789"),
)


class Document:
    """One parsed document: its ``value``, and ``line(path)`` to say where a part of it stands."""

    def __init__(self, text: str, *, max_characters: int = MAX_BYTES, max_parts: int = _MAX_NODES) -> None:
        """Raises ``YamlProblem``. The bounds are those of what people write by hand, unless said otherwise."""
        if len(text) > max_characters:
            raise YamlProblem(f"longer than {max_characters} characters")
        try:
            _check_depth(text)
            self._root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
            _check_nodes(self._root, max_parts)
            self.value: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise YamlProblem(error.problem or "not YAML", mark.line + 1 if mark else None) from None
        except YamlProblem:
            raise
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise YamlProblem(str(error).splitlines()[0] if str(error) else "nested too deeply") from None

    def line(self, path: tuple[str | int, ...]) -> int | None:
        """Line (from 1) of the part at ``path``, or of the nearest part above it that exists."""
        node = self._root
        for step in path:
            child = _child(node, step)
            if child is None:
                break
            node = child
        return node.start_mark.line + 1 if node else None


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child: yaml.Node = node.value[step]
        return child
    return None


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            mark = event.start_mark
            raise YamlProblem(f"nested deeper than {_MAX_DEPTH}", mark.line + 1 if mark else None)


def _check_nodes(root: yaml.Node | None, limit: int) -> None:
    """Refuse duplicate keys, and count nodes as often as aliases repeat them."""
    stack, seen = [root] if root else [], 0
    while stack:
        node = stack.pop()
        seen += 1
        if seen > limit:
            raise YamlProblem(f"more than {limit} parts (aliases count each time)")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            stack.extend(part for pair in node.value for part in pair)
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise YamlProblem("a key must be text", line)
        if key.value in seen:
            raise YamlProblem(f"key {key.value[:64]!r} appears twice", line)
        seen.add(key.value)
