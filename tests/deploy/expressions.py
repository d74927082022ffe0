"""Every PromQL expression of deploy/, and what it names: metrics, and the labels that it selects or groups by."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.compose import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
_KEYWORDS = {"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "group_left", "group_right"}
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$agent": ".*"}


@dataclass(frozen=True)
class Expression:
    """`where` says in which file and panel or rule."""

    where: str
    text: str

    @property
    def metrics(self) -> set[str]:
        plain = _GROUPING.sub(" ", re.sub(r"\{[^}]*\}", " ", _STRING.sub("S", self.text)))
        names = re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", re.sub(r"\[[^\]]*\]", " ", plain))
        return set(names) - _KEYWORDS - {"S"}

    @property
    def labels(self) -> set[str]:
        plain = _STRING.sub("S", self.text)
        selected = {
            label
            for inner in re.findall(r"\{([^}]*)\}", plain)
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inner)
        }
        return selected | {
            label.strip() for inner in _GROUPING.findall(plain) for label in inner.split(",") if label.strip()
        }


def rules() -> list[dict[str, Any]]:
    """All alerts."""
    return [
        rule
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def of_rules() -> list[Expression]:
    return [Expression(f"rule {rule['alert']}", rule["expr"]) for rule in rules()]


def dashboard(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def of_dashboards(source: str = "prometheus") -> Iterator[Expression]:
    """With Grafana's variables replaced by something that they may stand for."""
    for file in DASHBOARDS:
        for panel in dashboard(file)["panels"]:
            for target in panel.get("targets", ()):
                if target["datasource"]["uid"] == source:
                    text = target["expr"]
                    for variable, value in _VARIABLES.items():
                        text = text.replace(variable, value)
                    yield Expression(f"{file.name}: {panel['title']}", text)
