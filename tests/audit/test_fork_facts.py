"""What the audit log says of a job that is a fork: who asked, of what, and whether it was edited. Nothing of the edit."""

from headrace.audit.facts import of_message
from headrace.messages.fork import Fork
from headrace.messages.job import Job
from headrace.messages.lineage import ForkedFrom


def facts(edited: tuple[str, ...] = (), replay_id: str | None = None) -> dict[str, object]:
    origin = ForkedFrom(run_id="run-1", step=2, by="key-7", edited=edited)
    found = of_message(Job(job_id="j", prompt="p", user_id="ada", replay_id=replay_id, fork=Fork(origin=origin)))
    return {name: found[name] for name in ("user_id", "origin", "status")}


def test_a_fork_says_who_asked_for_it() -> None:
    assert facts() == {"user_id": "key-7", "origin": "run-1/2", "status": "forked"}
    assert facts(("prompt",))["status"] == "forked_edited"
    assert facts(replay_id="again")["status"] == "rerun"


def test_any_other_job_is_of_its_user() -> None:
    found = of_message(Job(job_id="j", prompt="p", user_id="ada"))
    assert found["user_id"] == "ada"
    assert "status" not in found
