"""What goes wrong at a provider, over HTTP: what is retried, for how long, and what the caller learns."""

from __future__ import annotations

import re
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from headrace.models import ModelError
from tests.models.conftest import Bench, VirtualTime, make_model

OK = {"reply": {"text": "ok"}}


def failing(times: int | None, **reply: Any) -> dict[str, Any]:
    return {"reply": reply, "times": times}


async def failure(bench: Bench, **changes: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await bench.ask(**changes)
    return caught.value


async def test_429_waits_as_long_as_asked(bench: Bench) -> None:
    bench.play(failing(1, status=429, retry_after=7), OK)
    reply = await bench.ask()
    assert (reply.text, reply.attempts, len(bench.seen)) == ("ok", 2, 2)
    assert bench.time.slept == [7.25]  # plus half of the half second of jitter


async def test_retry_after_in_milliseconds(bench: Bench) -> None:
    bench.play(failing(1, status=429, headers={"retry-after-ms": "3500", "retry-after": "9"}), OK)
    await bench.ask()
    assert bench.time.slept == [3.75]


async def test_retry_after_as_a_date(bench: Bench) -> None:
    bench.play(failing(1, status=503, retry_after=formatdate(time() + 10, usegmt=True)), OK)
    await bench.ask()
    assert 8 <= bench.time.slept[0] <= 10.25


async def test_retry_after_past_the_budget_fails_at_once(bench: Bench) -> None:
    bench.play(failing(None, status=429, retry_after=60))
    error = await failure(bench, timeout_s=20)
    assert (error.kind, error.retryable, error.status, error.retry_after) == ("rate_limited", True, 429, 60)
    assert (error.attempts, bench.time.slept, len(bench.seen)) == (1, [], 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408])
async def test_server_errors_are_retried_with_back_off(bench: Bench, status: int) -> None:
    bench.play(failing(2, status=status), OK)
    reply = await bench.ask()
    assert (reply.attempts, len(bench.seen)) == (3, 3)
    assert bench.time.slept == [0.375, 0.75]


async def test_attempts_are_bounded(bench: Bench) -> None:
    bench.play(failing(None, status=500, message="disk full"))
    error = await failure(bench)
    assert (error.kind, error.attempts, len(bench.seen)) == ("server_error", 4, 4)
    assert str(error) == "HTTP 500: disk full"


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (400, "max_tokens: too large", None, "bad_request"),
        (401, "invalid key", None, "authentication"),
        (402, "pay first", None, "authentication"),
        (403, "not for you", None, "authentication"),
        (404, "no such model", None, "not_found"),
        (413, "too large", None, "context_length"),
        (400, "prompt is too long: 300000 tokens", None, "context_length"),
        (400, "too many", "context_length_exceeded", "context_length"),
        (422, "unprocessable", None, "bad_request"),
        (429, "you exceeded your quota", "insufficient_quota", "authentication"),
    ],
)
async def test_what_no_retry_mends_is_not_retried(
    bench: Bench, status: int, message: str, code: str | None, kind: str
) -> None:
    bench.play(failing(None, status=status, message=message, code=code))
    error = await failure(bench)
    assert (error.kind, error.retryable, error.status, error.attempts) == (kind, False, status, 1)
    assert len(bench.seen) == 1
    assert message in str(error)


@pytest.mark.parametrize(
    "reply", [{"fault": "garbage"}, {"body": "{}"}, {"body": "[]"}, {"body": "null"}, {"body": ""}]
)
async def test_unreadable_answers_are_tried_twice(bench: Bench, reply: dict[str, Any]) -> None:
    bench.play(failing(None, **reply))
    error = await failure(bench)
    assert (error.kind, error.retryable, error.attempts, len(bench.seen)) == ("bad_response", True, 2, 2)


WRONG_SHAPES = {
    "openai": [
        '{"choices":[]}',
        '{"choices":[{"message":{"content":[1]},"finish_reason":"stop"}],"usage":null}',
        '{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":"many","completion_tokens":1}}',
        '{"choices":[{"message":{"tool_calls":[{"id":"1"}]}}]}',
    ],
    "anthropic": [
        '{"content":"text","usage":{"input_tokens":1,"output_tokens":1}}',
        '{"content":[{"type":"text","text":7}],"usage":{"input_tokens":1,"output_tokens":1}}',
        '{"content":[]}',
        '{"content":[{"type":"tool_use","id":"1"}],"usage":{"input_tokens":1,"output_tokens":1}}',
    ],
}


@pytest.mark.parametrize("shape", range(4))
async def test_wrong_shapes_are_unreadable(bench: Bench, shape: int) -> None:
    bench.play(failing(1, body=WRONG_SHAPES[bench.provider][shape]), OK)
    assert (await bench.ask()).attempts == 2


async def test_cut_connection_is_retried(bench: Bench) -> None:
    bench.play(failing(1, fault="cut"), OK)
    assert (await bench.ask()).attempts == 2
    bench.play(failing(None, fault="cut"))
    error = await failure(bench)
    assert (error.kind, error.retryable, error.attempts) == ("connection", True, 4)


async def test_nobody_listens(bench: Bench) -> None:
    nowhere = {"anthropic_base_url": "http://127.0.0.1:9", "openai_base_url": "http://127.0.0.1:9/v1"}
    model = make_model(bench.provider, bench.simulator, VirtualTime(), **nowhere)
    with pytest.raises(ModelError) as caught:
        await model.complete(bench.request())
    assert (caught.value.kind, caught.value.attempts) == ("connection", 4)
    await model.close()


async def test_hanging_server_ends_with_the_budget(bench: Bench) -> None:
    bench.play(failing(None, fault="hang"))
    error = await failure(bench, timeout_s=0.2)
    assert (error.kind, error.retryable) == ("timeout", True)
    assert re.fullmatch(r"no answer within 0\.\d s", str(error))


async def test_waits_count_into_the_budget(bench: Bench) -> None:
    """5 s fit three waits of 0.375 + 0.75 + 1.5 s, but a fourth try's wait is not reached; 2 s fit only two."""
    bench.play(failing(None, status=500))
    error = await failure(bench, timeout_s=2)
    assert (error.attempts, bench.time.slept) == (3, [0.375, 0.75])


@pytest.mark.parametrize("url", ["localhost:1234", "ftp://example.org", "http://"])
async def test_unusable_base_url_is_named(bench: Bench, url: str) -> None:
    model = make_model(bench.provider, bench.simulator, bench.time, anthropic_base_url=url, openai_base_url=url)
    with pytest.raises(ModelError, match="base URL") as caught:
        await model.complete(bench.request())
    assert (caught.value.kind, caught.value.retryable) == ("not_configured", False)
