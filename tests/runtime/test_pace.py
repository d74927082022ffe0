"""The pause after a transaction: none where little happens, bounded in time and in what comes meanwhile."""

from headrace.runtime.pace import Pace


def paced(pace: Pace, rate: float, seconds: float = 20.0) -> float:
    """The pause once ``rate`` records a second have come for so long, in a transaction every tenth of a second."""
    now, pause = 100.0, 0.0
    for _ in range(round(seconds * 10)):
        now += 0.1
        pause = pace.after(round(rate / 10), now)
    return pause


def test_a_single_record_after_a_silence_hardly_waits() -> None:
    assert Pace(0.1, 1_000).after(1, 1_000.0) < 0.001


def test_the_pause_follows_the_rate_up_to_the_interval() -> None:
    assert abs(paced(Pace(0.1, 10**6), 100) - 0.01) < 0.001
    assert abs(paced(Pace(0.1, 10**6), 500) - 0.05) < 0.001
    assert abs(paced(Pace(0.1, 10**6), 50_000) - 0.1) < 1e-9


def test_no_more_comes_in_a_pause_than_the_next_transaction_takes() -> None:
    assert abs(paced(Pace(0.5, 2_500), 10_000) - 0.25) < 0.01


def test_without_an_interval_nothing_waits() -> None:
    assert paced(Pace(0.0, 2_500), 10_000) == 0.0
