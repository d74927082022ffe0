"""Log lines: their keys, what is masked in them, and what must not be."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from headrace.observe import tracing
from headrace.observe.logging import MASK, configure, get_logger

Line = Callable[[], dict[str, Any]]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """The newest line that was logged."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure("debug", service="test")
    return lambda: json.loads(written.getvalue().splitlines()[-1])


def test_a_line_is_json_with_the_agreed_keys(line: Line) -> None:
    get_logger("t").info("agent_start", agent_type="a", user_id="u", run_id="r")
    written = line()
    assert written.pop("timestamp").endswith("Z")
    expected = {"level": "info", "event": "agent_start", "service": "test"}
    assert written == expected | {"agent_type": "a", "user_id": "u", "run_id": "r"}


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "api_key",
        "x-api-key",
        "password",
        "sasl.password",
        "secret",
        "client_secret",
        "webhook_secrets",
        "token",
        "x-hub-signature",
        "x-hub-signature-256",
        "cookie",
    ],
)
@pytest.mark.parametrize(
    "value", ["planted", b"planted", ["planted"], {"a": "planted"}], ids=lambda v: type(v).__name__
)
def test_what_a_secret_s_name_says_is_masked(line: Line, key: str, value: Any) -> None:
    get_logger("t").info("happened", **{key: value}, nested={"deep": [{key: value}]})
    written = line()
    assert written[key] == MASK
    assert "planted" not in json.dumps(written)


@pytest.mark.parametrize(
    "secret",
    [
        "sk-planted-0123456789",
        "sk-ant-api03-planted_0123456789",
        "ghp_planted0123456789abcdef",
        "github_pat_planted0123456789abcdef",
        "xoxb-planted-123456",
        "AKIAPLANTED0123456789",
        "whsec_planted0123456789",
        "sk_live_planted0123456789",
        "Bearer planted.0123456789",
        "eyJhbGciOiJIUzI1.eyJzdWIiOiJwbGFudGVk.planted_signature",
        "sha256=" + "0123456789abcdef" * 4,
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_is(line: Line, secret: str) -> None:
    error = ValueError(f"the key {secret} is wrong")
    try:
        raise error
    except ValueError:
        get_logger("t").exception("failed", text=f"it was {secret}!", nested=[{"x": (secret,)}], error=error)
    written = json.dumps(line())
    assert secret not in written
    assert "planted" not in written
    logging.getLogger("someone.else").warning("they say %s", secret)
    assert secret not in json.dumps(line())


@pytest.mark.parametrize("text", ["https://x.example/a?token=planted&b=1", "host=db password=planted user=u"])
def test_an_assigned_secret_is_masked_and_the_rest_stays(line: Line, text: str) -> None:
    get_logger("t").info("happened", where=text)
    assert line()["where"] == text.replace("planted", MASK)


def test_what_is_no_secret_stays(line: Line) -> None:
    """Agents and topics may have a name that ends like a key begins."""
    facts = {"agent_type": "pr-risk-reviewer", "run_id": "task-0123456789", "tokens": 812, "token": None, "max": 1.5}
    get_logger("t").info("happened", **facts, topics=["disk-monitoring-events"])
    written = line()
    assert {name: written[name] for name in facts} == facts
    assert written["topics"] == ["disk-monitoring-events"]


def test_lines_inside_of_a_span_name_it_and_others_do_not(line: Line) -> None:
    tracing.use(TracerProvider(shutdown_on_exit=False).get_tracer("test"))
    try:
        with tracing.span("work") as span:
            logging.getLogger("someone.else").warning("inside")
            written = line()
        context = span.get_span_context()
        assert written["trace_id"] == f"{context.trace_id:032x}"
        assert written["span_id"] == f"{context.span_id:016x}"
        get_logger("t").info("outside")
        assert "trace_id" not in line()
    finally:
        tracing.use(None)


@pytest.mark.parametrize("secret", ["BEARER\tplanted.0123456789", "basic\u00a0planted0123456789", "password=planted"])
def test_white_space_of_any_kind_hides_no_secret(line: Line, secret: str) -> None:
    get_logger("t").info("happened", where=f"x({secret})")
    assert "planted" not in json.dumps(line())


def test_what_orjson_refuses_is_written_all_the_same(line: Line) -> None:
    get_logger("t").info("happened", path="a\udcffb", count=2**70, key={1: object()})
    written = line()
    assert (written["path"], written["count"]) == ("a\udcffb", 2**70)
