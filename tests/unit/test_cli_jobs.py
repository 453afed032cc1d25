"""What goes wrong with `ryla jobs`: an id that fits two, a secret on the screen, a cancel that throws money away."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from resources.gpu.backend import Diagnosis
from resources.gpu.job import Job, OutputSpec
from resources.gpu.records import OPEN_STATES, TERMINAL_STATES, Attempt
from ryla_assets import build, cli_jobs, cli_money
from ryla_assets.cli import main
from ryla_assets.studio import bills
from ryla_assets.studio.bills import Reconciliation, summed
from ryla_assets.studio.blocks import Block
from ryla_assets.studio.studio import Studio
from tests.fakes.scripted_backend import Script, ScriptedBackend
from tests.fakes.scripted_studio import scripted_parts

RUN = "11111111-2222-3333-4444-555555555555"
WHO = "mara-lind"


@pytest.fixture
def studio(open_studio: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch) -> Studio:
    """The studio that every command of a test opens: its backend lives in this process."""
    made = open_studio(parts=scripted_parts())
    monkeypatch.setattr(build, "build_studio", lambda *_, **__: made)
    return made


def sent(studio: Studio, name: str = "a", *states: Any, run: str | None = RUN, **script: Any) -> Attempt:
    """An attempt that was submitted, and that nobody follows now."""
    backend = cast(ScriptedBackend, studio.runner.backend)
    backend.scripts = [Script(states=states or ("running",), **script)]
    outputs = (OutputSpec(name, "image", 64, 64),)
    job = Job("image", {"1": {"class_type": "X", "inputs": {"n": name}}}, outputs, label=f"{WHO}/{name}/1", owner=WHO)
    attempt = studio.runner.submit(job, run_id=run)
    assert isinstance(attempt, Attempt)
    studio.runner.ledger.release(attempt.lease_owner or "")
    return studio.runner.ledger.attempt(attempt.id)


def ended(studio: Studio, name: str = "a", *, error: str = "out of memory") -> Attempt:
    """An attempt that failed and cost 4 cents."""
    attempt = sent(studio, name)
    shares = {"cost_usd": 0.04, "cold_usd": 0.01, "idle_usd": 0.005}
    return studio.runner.ledger.move(attempt, "failed", error=error, error_code="oom", worker="w-1", **shares)


def ryla(*words: str) -> Result:
    """Run `ryla jobs ...` as a person types it."""
    return CliRunner().invoke(main, ["jobs", *words])


def told(*words: str, code: int = 0) -> Any:
    """What it prints with --json: exactly one JSON document on stdout."""
    result = ryla(*words, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


# ---- list


def test_states_are_the_ledger_s() -> None:
    """They are spelled out so that --help need not import a database."""
    assert set(cli_jobs.OPEN_STATES) == OPEN_STATES
    assert set(cli_jobs.ENDED_STATES) == TERMINAL_STATES


def test_listing_nothing_says_where_it_looked(studio: Studio) -> None:
    """A mistyped RYLA_HOME is an empty ledger: people read which one, programs get an empty list."""
    assert told("list") == []
    place = str(studio.settings.home / "ryla.db")
    assert f"Noattemptsin{place}." in "".join(ryla("list").stdout.split())
    assert f"Noattemptsofthatkindin{place}." in "".join(ryla("list", "--open").stdout.split())


def test_unknown_character_is_told(studio: Studio, make_character: Callable[..., Any]) -> None:
    """A mistyped id is no idle character; one whose attempts are known needs no registry."""
    make_character(studio, "kofi-mensah")
    assert told("list", "--character", "kofi-mensah") == []
    assert told("list", "--character", "kofi-mensa", code=2)["error"]["code"] == "unknown_character"
    ended(studio)
    assert len(told("list", "--character", WHO)) == 1


def test_list_is_filtered(studio: Studio) -> None:
    """By openness, state, character, run, date and number."""
    failed, going = ended(studio, "a"), sent(studio, "b", run="another-run")
    assert [row["id"] for row in told("list")] == [going.id, failed.id]
    assert [row["id"] for row in told("list", "--open")] == [going.id]
    assert [row["id"] for row in told("list", "--state", "failed")] == [failed.id]
    assert [row["id"] for row in told("list", "--run", RUN)] == [failed.id]
    assert len(told("list", "--character", WHO, "--since", "2026-01-01")) == 2
    assert told("list", "--since", "2999-01-01T00:00") == []
    assert len(told("list", "--limit", "1")) == 1
    assert "The newest 1: --limit shows more." in ryla("list", "--limit", "1").stdout


def test_table_shows_the_most_that_an_open_one_costs(studio: Studio) -> None:
    """A person sees what is spent and what may be."""
    ended(studio, "a")
    sent(studio, "b")
    out = ryla("list").stdout
    assert "$0.0400" in out
    assert "< $0.0500" in out


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--since", "yesterday"),
        ("list", "--state", "lying"),
        ("list", "--open", "--state", "failed"),
        ("list", "--limit", "0"),
        ("show", "abc"),
        ("show", "0123456789"),
        ("cancel", "0123456789"),
        ("reconcile", "--since", "?"),
        ("spend", "--by", "week"),
        ("spend", "--since", "?"),
    ],
    ids=" ".join,
)
def test_wrong_question_is_exit_2(studio: Studio, words: tuple[str, ...]) -> None:
    """Nothing on stdout that a program could take for an answer."""
    result = ryla(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error" in result.stderr


# ---- show


def test_whole_story_is_shown(studio: Studio) -> None:
    """States with times, endpoint, remote id, costs and their basis, diagnosis, error, next step."""
    attempt = ended(studio)
    story = told("show", attempt.id)
    assert [move["state"] for move in story["history"]] == ["intended", "submitted", "failed"]
    assert all(move["at"] > 0 for move in story["history"])
    assert (story["remote_id"], story["endpoint"], story["worker"]) == (attempt.remote_id, "memory", "w-1")
    costs = (story["cost_usd"], story["cold_usd"], story["idle_usd"], story["cost_basis"])
    assert costs == (0.04, 0.01, 0.005, "reported")
    assert story["run_usd"] == pytest.approx(0.025)
    assert "Run its stage again" in story["next"]
    out = ryla("show", attempt.id).stdout
    for word in ("out of memory [oom]", "$0.0250 run", "$0.0100 cold start", "w-1", RUN, attempt.fingerprint[:16]):
        assert word in out.replace("\n", " "), word


def test_verdict_is_shown_with_its_evidence_and_the_way_out(studio: Studio) -> None:
    """Why it waits, what that rests on and when it was found, and what a person may do about it."""
    attempt = sent(studio)
    evidence = {"workers": {"running": 0, "throttled": 3}, "pools": ["ADA_24"]}
    verdict = Diagnosis("throttled", "Its workers wait for a machine.", True, "Add GPU pools to ep1.", evidence)
    studio.runner.ledger.diagnose(attempt, verdict)
    shown = " ".join(ryla("show", attempt.id).output.replace("│", " ").split())
    assert "Its workers wait for a machine." in shown
    assert "workers running 0, throttled 3; pools ADA_24; code throttled; at 20" in shown
    assert f"Add GPU pools to ep1. ryla jobs cancel {attempt.id}" in shown
    story = told("show", attempt.id)
    assert (story["evidence"]["workers"], story["way_out"]) == (evidence["workers"], "Add GPU pools to ep1.")


def test_attempt_that_another_one_made_good_asks_for_nothing(studio: Studio) -> None:
    """Its job has its result: there is no next step."""
    lost = ended(studio)
    row = studio.runner.ledger.job(lost.fingerprint)
    assert row is not None
    assert "Run its stage again" in told("show", lost.id)["next"]
    cast(ScriptedBackend, studio.runner.backend).scripts = [Script(states=("succeeded",))]
    studio.runner.run([row.job])
    assert told("show", lost.id)["next"] == ""


def test_attempt_is_shown_by_its_beginning_and_by_its_job_s(studio: Studio) -> None:
    """As people copy it from a list or from an asset's metadata; of a job, its newest attempt."""
    first = ended(studio)
    again = sent(studio)
    assert first.fingerprint == again.fingerprint
    assert told("show", first.id[:8])["id"] == first.id
    assert told("show", first.fingerprint[:12])["id"] == again.id
    assert told("show", first.id)["other_attempts"] == [again.id]


def test_beginning_of_two_jobs_is_refused(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the wrong one: both are named."""
    from resources.gpu.books import Books

    both = [ended(studio, "a"), ended(studio, "b")]
    entries = [Books(studio.runner.ledger.engine).entry(attempt.id) for attempt in both]
    monkeypatch.setattr(Books, "found", lambda *_: entries)
    found = told("show", "0123abcd", code=2)["error"]
    assert all(attempt.id in found["message"] for attempt in both)


def test_token_is_never_shown(studio: Studio) -> None:
    """Who has it may speak as RunPod."""
    attempt = sent(studio)
    assert attempt.webhook_token
    for words in (("list",), ("show", attempt.id), ("reconcile",)):
        for more in ((), ("--json",)):
            assert attempt.webhook_token not in ryla(*words, *more).output


@pytest.mark.parametrize(
    ("state", "says"),
    [("unknown", "ryla jobs reconcile"), ("running", "ryla jobs cancel"), ("followed", "terminate its run"),
     ("elsewhere", "Point the settings back at"), ("refused", "does not pay for this seed again")],
)  # fmt: skip
def test_next_step_fits_the_state(studio: Studio, state: str, says: str) -> None:
    """What a person can do, and only what would work."""
    attempt = sent(studio)
    ledger = studio.runner.ledger
    if state in ("unknown", "running"):
        attempt = ledger.move(attempt, state)
    if state == "refused":
        blank = {"name": "a", "media": "image", "code": "blank", "reason": "it came back blank"}
        ledger.move(attempt, "failed", error_code="blank", error="a: blank", refused=[blank])
        assert told("show", attempt.id)["refused"] == [blank]
        assert "a: it came back blank" in ryla("show", attempt.id).stdout
    if state == "followed":
        ledger.take_lease(attempt, "a living process", 60.0)
    if state == "elsewhere":
        cast(ScriptedBackend, studio.runner.backend).endpoint = "another"
    assert says in told("show", attempt.id)["next"]


# ---- cancel


def test_cancel_stops_what_nobody_follows(studio: Studio) -> None:
    """Remotely too, and the ledger says who did it."""
    attempt = sent(studio)
    [row] = told("cancel", attempt.id[:8])
    assert row["state"] == "cancelled"
    assert cast(ScriptedBackend, studio.runner.backend).cancels == [attempt.remote_id]
    assert "cancelled by " in studio.runner.ledger.history(attempt.id)[-1][2]


def test_cancel_by_a_user_without_a_name(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's uid may be in no passwd file; what it may stop, it can."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    attempt = sent(studio)
    [row] = told("cancel", attempt.id)
    assert row["state"] == "cancelled"
    assert "cancelled by unnamed" in studio.runner.ledger.history(attempt.id)[-1][2]


def test_cancel_takes_what_has_just_finished(studio: Studio) -> None:
    """It is paid for: the result is kept, and people are told."""
    attempt = sent(studio, "a", "succeeded")
    assert "its result was taken" in ryla("cancel", attempt.id).stdout
    row = studio.runner.ledger.job(attempt.fingerprint)
    assert row is not None
    assert row.result is not None


def test_cancelling_what_ended_is_refused(studio: Studio) -> None:
    """Exit 1, saying how it ended and what it cost; nothing reaches the backend."""
    attempt = ended(studio)
    found = told("cancel", attempt.id, code=1)["error"]
    assert found["code"] == "refused"
    assert "ended as failed and cost $0.0400" in found["message"]
    assert cast(ScriptedBackend, studio.runner.backend).cancels == []


def test_cancelling_what_is_followed_is_refused(studio: Studio) -> None:
    """Its owner would take the cancellation for a failure: its run is to be stopped instead."""
    attempt = sent(studio)
    studio.runner.ledger.take_lease(attempt, "a living process", 60.0)
    found = told("cancel", attempt.id, code=1)["error"]
    assert found["code"] == "ledger_conflict"
    assert "a living process" in found["message"]
    assert studio.runner.ledger.attempt(attempt.id).is_open


# ---- reconcile


def test_reconcile_settles_what_dead_processes_left(studio: Studio) -> None:
    """What finished is taken; and there is no bill to compare with, which is said."""
    attempt = sent(studio, "a", "succeeded")
    found = told("reconcile")
    assert [(row["id"], row["state"]) for row in found["settled"]] == [(attempt.id, "succeeded")]
    assert "sends no bill" in found["drift"]["note"]
    assert "Nothing was left to settle." in ryla("reconcile").stdout


@pytest.mark.parametrize(("billed", "code"), [(0.02, 0), (0.04, 0), (0.06, 1)])
def test_reconcile_fails_where_more_was_billed_than_booked(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, billed: float, code: int
) -> None:
    """Recorded spend is never below the bill: where it is, a program hears of it."""
    drift = summed([Block("ep1", 1_800_000_000.0, 1_800_003_600.0, 1, 0.04, 0.0, billed, 1)])
    monkeypatch.setattr(bills, "reconcile", lambda *_, **__: Reconciliation([], [], drift))
    assert told("reconcile", code=code)["drift"]["usd"] == pytest.approx(0.04 - billed)
    out = ryla("reconcile")
    assert out.exit_code == code
    assert "ep1" in out.stdout
    assert ("More was billed than is booked: $0.0200 at ep1" in out.stdout.replace("\n", " ")) is bool(code)


def test_no_unknown_attempt_is_left_out_unsaid(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table has an end: how many more there are, and what they can cost, is told; a program gets all."""
    for name in "abc":
        studio.runner.ledger.move(sent(studio, name), "unknown")
    monkeypatch.setattr(cli_money, "SHOWN", 2)
    monkeypatch.setattr(studio.runner, "settle_open", list)
    assert len(told("reconcile")["unknown"]) == 3
    assert "1 more, together < $0.0500" in ryla("reconcile").stdout


# ---- spend


def test_spend_is_told_by_day_character_and_run(studio: Studio) -> None:
    """What is spent, and what open work can still cost."""
    ended(studio, "a")
    sent(studio, "b", run="another-run")
    [day] = told("spend")
    assert (day["attempts"], day["spent_usd"], day["reserved_usd"]) == (2, 0.04, pytest.approx(0.05))
    assert day["day"] % 86_400 == 0
    [character] = told("spend", "--by", "character")
    assert (character["character"], character["spent_usd"]) == (WHO, 0.04)
    assert [row["run"] for row in told("spend", "--by", "run")] == ["another-run", RUN]
    assert [row["run"] for row in told("spend", "--by", "run", "--limit", "1")] == ["another-run"]
    assert "$0.0400" in ryla("spend", "--by", "character").stdout
    assert datetime.now(UTC).strftime("%Y-%m-%d") in ryla("spend").stdout


def test_spending_nothing_says_where_it_looked(studio: Studio) -> None:
    """As the list does."""
    assert told("spend") == []
    assert str(studio.settings.home / "ryla.db") in "".join(ryla("spend").stdout.split())
