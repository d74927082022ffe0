"""A planted key is sent to the provider, and is found nowhere else."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest
import structlog

from headrace.models import ModelError
from headrace.models.settings import ModelSettings
from tests.models.conftest import Bench, make_model
from tests.support.simulator import settings_for

KEY = "planted-7Qm2-key-without-a-known-shape"
KEYS = {"anthropic_api_key": KEY, "openai_api_key": KEY}


def everything(error: BaseException) -> str:
    """All that a log, a crash report or a dead letter could show of an error: its chain and its attributes too."""
    texts, pending, seen = [], [error], set()
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        texts += [str(item), repr(item), repr(vars(item))]
        pending += [link for link in (item.__cause__, item.__context__) if link is not None]
    return "\n".join([*texts, *traceback.TracebackException.from_exception(error).format(chain=True)])


@pytest.mark.parametrize(
    "reply",
    [
        {"status": 401, "message": f"Incorrect API key provided: {KEY}."},
        {"status": 400, "message": f"bad header {KEY}"},
        {"status": 500, "message": KEY},
        {"status": 500, "body": KEY},
        {"body": KEY},
        {"fault": "garbage"},
        {"fault": "cut"},
        {"fault": "hang"},
    ],
)
async def test_key_is_in_no_error_and_no_log(
    bench: Bench, reply: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.play({"reply": reply})
    model = make_model(bench.provider, bench.simulator, bench.time, **KEYS)
    with structlog.testing.capture_logs() as logs, pytest.raises(ModelError) as caught:
        await model.complete(bench.request(timeout_s=0.5))
    await model.close()
    assert KEY not in everything(caught.value)
    assert KEY not in caplog.text
    assert all(KEY not in repr(vars(record)) for record in caplog.records)
    assert KEY not in repr(logs)
    assert KEY not in repr(model)


async def test_errors_chain_no_client_exception(bench: Bench) -> None:
    """A client library's exception holds the request, whose headers hold the key."""
    bench.play({"reply": {"status": 401}})
    with pytest.raises(ModelError) as caught:
        await bench.ask()
    chain: list[BaseException | None] = [caught.value]
    while (last := chain[-1]) is not None:
        chain.append(last.__cause__ or last.__context__)
    assert all(type(link).__module__.startswith("headrace") for link in chain[:-1])


async def test_the_key_is_sent(bench: Bench) -> None:
    """The counterpart: without this, the others would pass for a key that is not used at all."""
    await bench.ask()
    assert bench.seen[0].headers.get("authorization", bench.seen[0].headers.get("x-api-key")) == "[redacted]"


def test_settings_do_not_show_keys() -> None:
    settings = ModelSettings(_env_file=None, anthropic_api_key=KEY, openai_api_key=KEY)
    assert KEY not in repr(settings) + str(settings) + settings.model_dump_json()


async def test_missing_key(bench: Bench) -> None:
    model = make_model(bench.provider, bench.simulator, bench.time, anthropic_api_key="", openai_api_key="")
    with pytest.raises(ModelError, match=f"{bench.provider.upper()}_API_KEY is not set") as caught:
        await model.complete(bench.request())
    assert (caught.value.kind, caught.value.retryable) == ("not_configured", False)
    assert bench.seen == []


@pytest.mark.parametrize("key", ["with space", "new\nline", "umläut"])
async def test_unusable_key_is_not_quoted(bench: Bench, key: str) -> None:
    model = make_model(bench.provider, bench.simulator, bench.time, anthropic_api_key=key, openai_api_key=key)
    with pytest.raises(ModelError, match="is not a key") as caught:
        await model.complete(bench.request())
    assert caught.value.kind == "not_configured"
    assert key not in everything(caught.value)


async def test_key_is_trimmed(bench: Bench) -> None:
    settings = settings_for(bench.simulator, anthropic_api_key=f" {KEY}\n")
    assert settings.anthropic_api_key is not None
    assert settings.anthropic_api_key.get_secret_value() == KEY
