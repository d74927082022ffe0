"""An agent definition as the YAML that its author would write: fields in order, defaults left out, long texts as blocks.

What comes out is read back as the same definition, by ``registry.load``.
"""

from __future__ import annotations

import re
from typing import Final

import yaml

from headrace.messages.agent import AgentDefinition

_WIDTH: Final = 120


class _Dumper(yaml.SafeDumper):
    """Quotes whatever is a number to a reader of YAML 1.2 or of 1.1."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"), list("-0123456789")
)


def as_yaml(definition: AgentDefinition) -> str:
    """One YAML document."""
    fields = definition.plain(defaults=False)
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
