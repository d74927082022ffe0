"""The coalescer: what becomes one flush, whom an error belongs to, and what cancelling does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.postgres.batch import Coalescer


class Flush:
    """Doubles each item; ``bad`` ones are refused. Each flush waits for a permit if ``gate`` is set."""

    def __init__(self, *, bad: frozenset[int] = frozenset(), gate: asyncio.Semaphore | None = None) -> None:
        self.batches: list[list[int]] = []
        self.bad = bad
        self.gate = gate
        self.error: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if self.gate:
            await self.gate.acquire()
        if self.error:
            raise self.error
        if self.bad & set(items):
            raise BadMessage("refused")
        return [item * 2 for item in items]


async def until_waiting(flush: Flush, batches: int) -> None:
    for _ in range(1_000):
        if len(flush.batches) >= batches:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{len(flush.batches)} of {batches} flushes begun")


async def test_what_arrives_during_a_flush_goes_in_the_next_one_in_order() -> None:
    flush = Flush(gate=asyncio.Semaphore(0))
    coalescer = Coalescer(flush)
    first = asyncio.create_task(coalescer.submit(0))
    await until_waiting(flush, 1)
    others = [asyncio.create_task(coalescer.submit(item)) for item in range(1, 50)]
    await asyncio.sleep(0)
    assert flush.gate
    flush.gate.release()
    flush.gate.release()
    assert await asyncio.gather(first, *others) == [item * 2 for item in range(50)]
    assert flush.batches == [[0], list(range(1, 50))]


async def test_a_batch_is_bounded_in_items_and_weight() -> None:
    flush = Flush()
    coalescer = Coalescer(flush, max_items=3, max_weight=10, weigh=lambda item: item)
    await asyncio.gather(*(coalescer.submit(item) for item in (1, 2, 3, 4, 9, 2, 50, 1)))
    assert flush.batches == [[1, 2, 3], [4], [9], [2], [50], [1]]


@pytest.mark.parametrize("bad", [{0}, {6}, {3, 4}, set(range(7)), {1, 5}])
async def test_a_bad_item_fails_alone(bad: set[int]) -> None:
    flush = Flush(bad=frozenset(bad))
    coalescer = Coalescer(flush)
    answers = await asyncio.gather(*(coalescer.submit(item) for item in range(7)), return_exceptions=True)
    for item, answer in enumerate(answers):
        assert isinstance(answer, BadMessage) if item in bad else answer == item * 2


async def test_one_bad_item_costs_few_flushes() -> None:
    flush = Flush(bad=frozenset({700}))
    coalescer = Coalescer(flush, max_items=1024)
    await asyncio.gather(*(coalescer.submit(item) for item in range(1024)), return_exceptions=True)
    assert len(flush.batches) == 1 + 2 * 10  # a halving is two flushes


async def test_an_outage_fails_exactly_the_waiters_of_that_flush() -> None:
    flush = Flush(gate=asyncio.Semaphore(0))
    flush.error = DependencyUnavailable("away")
    coalescer = Coalescer(flush, max_items=2)
    tasks = [asyncio.create_task(coalescer.submit(item)) for item in range(4)]
    await until_waiting(flush, 1)
    assert flush.gate
    flush.gate.release()
    await until_waiting(flush, 2)
    flush.error = None
    flush.gate.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [DependencyUnavailable, DependencyUnavailable, int, int]


async def test_a_cancelled_waiter_takes_nobody_with_it() -> None:
    flush = Flush(gate=asyncio.Semaphore(0))
    coalescer = Coalescer(flush)
    in_flight = [asyncio.create_task(coalescer.submit(item)) for item in (1, 2)]
    await until_waiting(flush, 1)
    queued = [asyncio.create_task(coalescer.submit(item)) for item in (3, 4)]
    await asyncio.sleep(0)
    in_flight[0].cancel()
    queued[0].cancel()
    await asyncio.sleep(0)
    assert flush.gate
    flush.gate.release()
    flush.gate.release()
    assert await asyncio.gather(in_flight[1], queued[1]) == [4, 8]
    assert flush.batches == [[1, 2], [4]], "an item whose caller is gone is not begun"


async def test_close_answers_what_was_submitted_and_refuses_the_rest() -> None:
    flush = Flush()
    coalescer = Coalescer(flush, max_items=2)
    tasks = [asyncio.create_task(coalescer.submit(item)) for item in range(5)]
    await asyncio.sleep(0)
    await coalescer.close()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]
    with pytest.raises(DependencyUnavailable):
        await coalescer.submit(9)


async def test_a_wrong_number_of_results_is_an_error_for_all_not_a_hang() -> None:
    async def short(items: Sequence[int]) -> list[int]:
        return list(items)[:-1]

    coalescer = Coalescer(short)
    answers = await asyncio.gather(coalescer.submit(1), coalescer.submit(2), return_exceptions=True)
    assert isinstance(answers[1], ValueError)


async def test_many_items_of_one_call_are_answered_in_order_each_for_itself() -> None:
    flush = Flush(bad=frozenset({3}))
    coalescer = Coalescer(flush, max_items=2)
    answers, other = await asyncio.gather(coalescer.submit_all([1, 2, 3, 4, 5]), coalescer.submit(9))
    assert [answer for answer in answers if not isinstance(answer, Exception)] == [2, 4, 8, 10]
    assert isinstance(answers[2], BadMessage)
    assert other == 18
    assert flush.batches == [[1, 2], [3, 4], [3], [4], [5, 9]]


async def test_no_items_are_answered_at_once() -> None:
    assert await Coalescer(Flush()).submit_all([]) == []


async def test_a_call_that_is_cancelled_drops_what_was_not_begun() -> None:
    flush = Flush(gate=asyncio.Semaphore(0))
    coalescer = Coalescer(flush, max_items=2)
    many = asyncio.create_task(coalescer.submit_all([1, 2, 3, 4]))
    await until_waiting(flush, 1)
    single = asyncio.create_task(coalescer.submit(5))
    await asyncio.sleep(0)
    many.cancel()
    await asyncio.sleep(0)
    assert flush.gate
    flush.gate.release()
    flush.gate.release()
    assert await single == 10
    assert flush.batches == [[1, 2], [5]]
