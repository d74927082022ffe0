"""The embedded cluster, as far as no broker has to run."""

import re
import uuid

import pytest

from headrace.local import kafka


def test_a_cluster_id_is_never_an_option_to_the_tool_that_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=b"\xfb" + bytes(15)), uuid.UUID(int=7)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))

    found = kafka._new_cluster_id()

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", found)
