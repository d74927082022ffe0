"""Join, regex_extract and parse_date against the plain oracle, and their rules by example."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.tools.pipeline.dates import parse_date
from headrace.tools.pipeline.extract import regex_extract
from headrace.tools.pipeline.join import join, joined
from headrace.tools.pipeline.rows import StepError
from tests.tools import oracle
from tests.tools.helpers import steady, through

Rows = list[dict[str, Any]]
few = settings(steady, max_examples=60)

IDS = st.none() | st.integers(0, 3) | st.sampled_from([1.0, True, "1", "a", [1], {"x": 1}])
SIDE = st.lists(st.dictionaries(st.sampled_from(["id", "a", "b"]), IDS, max_size=3), max_size=8)


def join_rows(left: Rows, right: Rows, on: str = "id", *, max_rows: int = 1_000, max_bytes: int = 100_000) -> Rows:
    return joined(left, right, on, max_rows=max_rows, max_bytes=max_bytes)


@few
@given(SIDE, SIDE)
def test_join(left: Rows, right: Rows) -> None:
    before = oracle.text([left, right])
    assert oracle.text(join_rows(left, right)) == oracle.text(oracle.join(left, right, "id"))
    assert oracle.text([left, right]) == before


def test_join_keeps_both_of_two_fields_with_one_name() -> None:
    flights = [{"id": 1, "price": 10, "from": "NYC"}, {"id": 2, "price": 20, "from": "LAX"}]
    hotels = [{"id": 2, "price": 99}, {"id": 2, "price": 98}, {"id": 3, "price": 97}]
    assert join_rows(flights, hotels) == [
        {"id": 2, "price": 20, "from": "LAX", "right_price": 99},
        {"id": 2, "price": 20, "from": "LAX", "right_price": 98},
    ]


def test_join_on_a_path() -> None:
    left, right = [{"user": {"id": 7}, "n": 1}], [{"user": {"id": 7}, "m": 2}]
    assert join_rows(left, right, "user.id") == [{"user": {"id": 7}, "n": 1, "right_user": {"id": 7}, "m": 2}]


def test_join_never_overwrites() -> None:
    with pytest.raises(StepError, match="'right_a' is taken"):
        join_rows([{"id": 1, "a": 1, "right_a": 2}], [{"id": 1, "a": 3}])


def test_join_is_bounded_before_it_is_made() -> None:
    many = [{"id": 1, "n": n} for n in range(100)]
    with pytest.raises(StepError, match="10000 joined rows") as caught:
        join_rows(many, many)
    assert caught.value.type == "too_large"
    with pytest.raises(StepError, match="bytes") as caught:
        join_rows([{"id": 1, "text": "x" * 2_000}], many)
    assert caught.value.type == "too_large"


def test_join_needs_a_side() -> None:
    with pytest.raises(StepError, match="left or right"):
        join({"on": "id"})
    assert not join({"on": "id", "left": "cas://x"}).is_source
    assert join({"on": "id", "left": "cas://x", "right": "cas://y"}).is_source


# --- regex_extract -------------------------------------------------------------------------------------------------------

# Where Python's own engine and RE2 must agree: no look-around, no back-reference, no ambiguity of empty repeats.
PATTERNS = st.sampled_from(
    [
        r"(\d{3})-(\d{3})-(\d{4})",
        r"[ab]+",
        r"(?P<word>[a-z]+)\s*(?P<n>\d+)?",
        r"^x",
        r"(a|b)(c)?",
        r"é.",
        r"(?i)AB",
        r"\d+$",
    ]
)
TEXTS = st.text(alphabet="ab1-9x éABc 0", max_size=12) | st.sampled_from(["212-555-0100", "tel 212-555-0100 ext"])


@few
@given(PATTERNS, st.lists(TEXTS | st.none() | st.integers(0, 5), max_size=6))
def test_regex_extract(pattern: str, texts: list[Any]) -> None:
    rows = [{"v": text, "#": number} for number, text in enumerate(texts)]
    made = through(regex_extract({"field": "v", "pattern": pattern}), rows)
    assert made == [row | oracle.extract(pattern, row["v"], "v_match") for row in rows]


def test_the_pattern_of_the_protocol() -> None:
    step = regex_extract({"pattern": r"(\d{3})-(\d{3})-(\d{4})", "field": "phone"})
    assert through(step, [{"phone": "call 212-555-0100"}, {"phone": None}, {}]) == [
        {"phone": "call 212-555-0100", "phone_match": ["212", "555", "0100"]},
        {"phone": None, "phone_match": None},
        {"phone_match": None},
    ]


@pytest.mark.parametrize("pattern", ["(", r"(?=a)", r"(a)\1", "x" * 1_001, "()" * 21, "((((a{500}){500}){500}){500})"])
def test_a_pattern_that_can_not_be_is_refused(pattern: str) -> None:
    with pytest.raises(StepError) as caught:
        regex_extract({"field": "v", "pattern": pattern})
    assert caught.value.type == "invalid_arguments"
    assert len(str(caught.value)) < 300


def test_a_pattern_that_hangs_other_engines_does_not() -> None:
    step = regex_extract({"field": "v", "pattern": r"(a|a)*(a|a)*(a|a)*b$"})
    assert through(step, [{"v": "a" * 50_000}])[0]["v_match"] is None


# --- parse_date ----------------------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1)).map(lambda moment: moment.replace(microsecond=0))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def one(value: Any, format_: str | None = None) -> Any:
    arguments = {"field": "at"} | ({"format": format_} if format_ else {})
    (row,) = through(parse_date(arguments), [{"at": value, "n": 1}])
    assert row.keys() == {"at", "n"}
    return row["at"]


@few
@given(
    MOMENTS,
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%d %b %Y %I:%M:%S %p", "%A, %d %B %Y at %H.%M.%S", "%m/%d/%Y%%%H%M%S"]),
)
def test_what_strftime_writes_is_read(moment: datetime, format_: str) -> None:
    assert one(moment.strftime(format_), format_) == moment.isoformat()


@few
@given(MOMENTS, ZONES)
def test_with_a_zone_it_is_utc(moment: datetime, zone: timezone) -> None:
    there = moment.replace(tzinfo=zone)
    expected = there.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    assert one(there.isoformat()) == expected
    assert one(there.strftime("%Y-%m-%dT%H:%M:%S%z"), "%Y-%m-%dT%H:%M:%S%z") == expected
    assert one(format_datetime(there), "rfc2822") == expected
    assert one(there.timestamp(), "unix") == one(there.timestamp() * 1000, "unix_ms") == expected


@pytest.mark.parametrize(
    ("value", "format_", "expected"),
    [
        ("2024-10-12", None, "2024-10-12"),
        ("2024-10-12", "%Y-%m-%d", "2024-10-12"),
        ("12 Oct 2024", "%d %b %Y", "2024-10-12"),
        ("2024-10-12T10:30", None, "2024-10-12T10:30:00"),
        ("2024-10-12T10:30:00.25+02:00", None, "2024-10-12T08:30:00.250000Z"),
        ("12/10/24 ", None, None),
        ("2024-02-30", None, None),
        ("2024-02-30", "%Y-%m-%d", None),
        ("13:00 PM 1 1 2024", "%I:%M %p %d %m %Y", None),
        ("12 okt 2024", "%d %b %Y", None),
        ("1", "unix", None),
        (True, "unix", None),
        (1e300, "unix", None),
        (["2024"], None, None),
        ("2024-10-12" + " " * 1_000, None, None),
    ],
)
def test_dates(value: Any, format_: str | None, expected: str | None) -> None:
    if expected is not None:
        assert one(value, format_) == expected
        return
    with pytest.raises(StepError, match="row 0") as caught:
        one(value, format_)
    assert caught.value.type == "invalid_data"
    assert str(value) not in str(caught.value)


def test_null_stays_null_and_a_row_that_does_not_fit_is_named() -> None:
    step = parse_date({"field": "at"})
    assert through(step, [{"at": None}, {}]) == [{"at": None}, {"at": None}]
    with pytest.raises(StepError, match="row 2"):
        through(step, [{"at": None}, {}, {"at": "s3cret"}])


@pytest.mark.parametrize(
    "format_",
    [
        "iso",
        "%Y",
        "%Y-%m",
        "%Y-%m-%d %H %I %p",
        "%Y-%m-%d %I",
        "%Y-%m-%d %M",
        "%Y%Y-%m-%d",
        "%Y-%m-%d %c",
        "%",
        "%Y" * 60,
    ],
)
def test_a_format_that_says_too_little_or_too_much_is_refused(format_: str) -> None:
    with pytest.raises(StepError) as caught:
        parse_date({"field": "at", "format": format_})
    assert caught.value.type == "invalid_arguments"


def test_months_are_english_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """No locale but C is on every machine, so what Python has of it is changed instead."""
    monkeypatch.setattr(calendar, "month_abbr", ["", *["mon"] * 12])
    monkeypatch.setattr(calendar, "month_name", ["", *["month"] * 12])
    assert one("12 Oct 2024", "%d %b %Y") == one("12 October 2024", "%d %B %Y") == "2024-10-12"


def test_a_format_is_no_pattern() -> None:
    """What is special to regular expressions stands for itself."""
    assert one("2024.10.12 (x+)+", "%Y.%m.%d (x+)+") == "2024-10-12"
    with pytest.raises(StepError):
        one("2024-10-12", "%Y.%m.%d")
