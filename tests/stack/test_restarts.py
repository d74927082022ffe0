"""The restart budget: pure logic over passed-in time."""

from headrace.local.restarts import RestartBudget


def test_the_fourth_crash_within_the_window_is_one_too_many() -> None:
    budget = RestartBudget(limit=3, window=60)

    assert [budget.crashed(now) for now in (0, 10, 20, 30)] == [0, 0, 0, None]


def test_crashes_older_than_the_window_do_not_count() -> None:
    budget = RestartBudget(limit=3, window=60)

    assert None not in [budget.crashed(now) for now in (0, 30, 59, 60, 90, 119.5)]
    assert budget.crashed(119.9) is None


def test_the_wait_doubles_up_to_its_bound() -> None:
    budget = RestartBudget(limit=5, window=60, delay=0.5, longest_delay=3)

    assert [budget.crashed(now) for now in range(6)] == [0.5, 1, 2, 3, 3, None]
