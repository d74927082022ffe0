"""From tables of panels to Grafana's JSON: places, ids and colours follow from the order, so nobody edits 500 lines by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

WIDTH: Final = 24
RATE: Final = "[$__rate_interval]"
PROMETHEUS: Final = {"type": "prometheus", "uid": "prometheus"}
LOKI: Final = {"type": "loki", "uid": "loki"}


@dataclass(frozen=True)
class Panel:
    """``queries``: PromQL (LogQL for ``logs``) with the legend of each. ``form``: timeseries, stat, table, heatmap, logs, text."""

    title: str
    queries: tuple[tuple[str, str], ...] = ()
    unit: str = "short"
    form: str = "timeseries"
    about: str = ""
    stacked: bool = False
    red_from: float | None = None


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]
    variables: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (title, metric and label)


def quantiles(
    metric: str, by: str = "", where: str = "", *, of: tuple[str, ...] = ("0.5", "0.95", "0.99")
) -> tuple[tuple[str, str], ...]:
    grouping = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (
            f"histogram_quantile({q}, sum by ({grouping}) (rate({metric}_bucket{where}{RATE})))",
            f"p{float(q) * 100:g}{legend}",
        )
        for q in of
    )


def rate(metric: str, by: str, where: str = "") -> tuple[str, str]:
    return f"sum by ({by}) (rate({metric}{where}{RATE}))", _legend(by)


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))


def share(metric: str, bad: str, by: str = "", where: str = "") -> tuple[str, str]:
    """Part of the series that ``bad`` selects, 0 to 1; 0 while there are only good ones."""
    grouping = f" by ({by})" if by else ""
    inner = f"{where.strip('{}')}, {bad}" if where else bad
    whole = f"sum{grouping} (rate({metric}{where}{RATE}))"
    return (
        f"(sum{grouping} (rate({metric}{{{inner}}}{RATE})) or {whole} * 0) / {whole}",
        _legend(by) if by else "share",
    )


HEIGHTS: Final = {"stat": 4, "text": 5, "logs": 10}


def render(dashboard: Dashboard) -> str:
    """The file's text."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in dashboard.rows:
        height = max(HEIGHTS.get(panel.form, 8) for panel in row)
        for column, panel in enumerate(row):
            left, right = (WIDTH * edge // len(row) for edge in (column, column + 1))
            place = {"h": height, "w": right - left, "x": left, "y": y}
            panels.append(_panel(len(panels) + 1, panel, place))
        y += height
    document = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["headrace"],
        "editable": False,
        "schemaVersion": 41,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {"type": "dashboards", "title": "headrace", "tags": ["headrace"], "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [_variable(name, *rest) for name, rest in dashboard.variables.items()]},
        "panels": panels,
    }
    return json.dumps(document, indent=1) + "\n"


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    made: dict[str, Any] = {"id": number, "type": panel.form, "title": panel.title, "gridPos": place}
    if panel.form == "text":
        return made | {"options": {"mode": "markdown", "content": panel.about}}
    source = LOKI if panel.form == "logs" else PROMETHEUS
    made |= {
        "datasource": source,
        "description": panel.about,
        "targets": [_target(i, panel, source) for i in range(len(panel.queries))],
    }
    if panel.form == "logs":
        return made | {
            "options": {"showTime": True, "sortOrder": "Descending", "wrapLogMessage": True, "enableLogDetails": True}
        }
    if panel.form == "heatmap":
        return made | {
            "options": {
                "calculate": False,
                "yAxis": {"unit": panel.unit},
                "color": {"mode": "scheme", "scheme": "Blues"},
            }
        }
    steps = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    custom: dict[str, Any] = {}
    if panel.form == "timeseries":
        custom = {
            "fillOpacity": 20 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }
        if panel.red_from is not None:
            custom["thresholdsStyle"] = {"mode": "line"}
    defaults = {"unit": panel.unit, "min": 0, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}}
    made["fieldConfig"] = {"defaults": defaults, "overrides": []}
    if panel.form == "timeseries":
        made["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.form == "table":
        made["transformations"] = [{"id": "merge", "options": {}}]
    return made


def _target(index: int, panel: Panel, source: dict[str, str]) -> dict[str, Any]:
    expression, legend = panel.queries[index]
    target: dict[str, Any] = {"refId": chr(ord("A") + index), "datasource": source, "expr": expression}
    if panel.form == "heatmap":
        target["format"] = "heatmap"
    if panel.form == "table":
        target |= {"format": "table", "instant": True}
    return target | ({"legendFormat": legend} if legend else {})


def _variable(name: str, title: str, values: str) -> dict[str, Any]:
    query = f"label_values({values})"
    return {
        "name": name,
        "label": title,
        "type": "query",
        "datasource": PROMETHEUS,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
