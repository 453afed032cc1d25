"""What goes wrong with answers that hold no usable picture: paid again and again on one seed, or good ones lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from resources.gpu.errors import InvalidJob, JobFailed, OutputRejected, OverBudget, Retry
from resources.gpu.job import Job, OutputSpec
from resources.gpu.runner import JobResult
from resources.gpu.settlement import ended_elsewhere
from tests.fakes.house import House, emptied, house_on, job, ledger_in, states
from tests.fakes.scripted_backend import MOST_USD, USD, Damage, Script

PIXELS: Sequence[Damage] = ("blank", "wrong size")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """One for all tests here."""
    engine = ledger_in(tmp_path_factory.mktemp("ledger"))
    yield engine
    engine.dispose()


@pytest.fixture
def house(engine: sa.Engine, tmp_path: Path) -> Iterator[House]:
    """An empty one."""
    yield house_on(engine, tmp_path)
    emptied(engine)


def pair() -> Job:
    """A job of two pictures; damage is done to the first."""
    return job(outputs=(OutputSpec("a", "image", 64, 48), OutputSpec("b", "image", 64, 48)))


@pytest.mark.parametrize("damage", PIXELS)
def test_same_seed_is_not_paid_again_on_the_same_machine(house: House, damage: Damage) -> None:
    """It would do the same again. The caller is told what came, what it cost, and what to do instead."""
    house.backend.scripts = [Script(damage=damage)]
    [answer] = house.runner().answers([job()])
    assert isinstance(answer, OutputRejected)
    assert (answer.code, answer.retry, answer.cost_usd) == (damage.replace(" ", "_"), Retry.PERMANENT, USD)
    assert "ask for a new take" in str(answer)
    [attempt] = house.attempts(job())
    assert (attempt.state, attempt.error_code) == ("failed", answer.code)


@pytest.mark.parametrize("damage", [*PIXELS, "truncated"])
def test_refusal_is_adopted_by_every_later_call(house: House, damage: Damage) -> None:
    """In any process, however often: nothing is sent, the answer is the same, and so is the price."""
    house.backend.scripts = [Script(damage=damage)]
    [first] = house.runner().answers([job()])
    sent = list(house.backend.sent)
    house.backend.invalid = frozenset({"a"})  # a model file is gone meanwhile: what is not sent is not validated
    for _ in range(3):
        [again] = house.runner().answers([job()])
        assert isinstance(again, OutputRejected)
        assert (str(again), again.refused) == (str(first), first.refused)
    assert house.backend.sent == sent


@pytest.mark.parametrize("damage", PIXELS)
def test_another_endpoint_is_asked_once(house: House, damage: Damage) -> None:
    """Precision and kernel are the machine's: where there is another one, it may do better."""
    house.backend.others = ("elsewhere",)
    house.backend.scripts = [Script(damage=damage), Script()]
    [answer] = house.runner().answers([job()])
    assert isinstance(answer, JobResult)
    assert [one.endpoint for one in house.attempts(job())] == ["memory", "elsewhere"]
    house.backend.scripts = [Script(damage=damage)]
    [answer] = house.runner(max_attempts=5).answers([job("b")])
    assert isinstance(answer, OutputRejected)
    assert states(house.attempts(job("b"))) == ["failed", "failed"], "twice refused is refused, whatever policy allows"


def test_damaged_file_is_made_again_once(house: House) -> None:
    """The transfer's fault or a disk's: the same seed may well arrive whole."""
    house.backend.scripts = [Script(damage="truncated")]
    [answer] = house.runner(max_attempts=5).answers([job()])
    assert isinstance(answer, OutputRejected)
    assert states(house.attempts(job())) == ["failed", "failed"]
    assert answer.cost_usd == pytest.approx(2 * USD)


@pytest.mark.parametrize("damage", [*PIXELS, "truncated"])
def test_good_pictures_beside_a_bad_one_are_kept(house: House, damage: Damage) -> None:
    """One attempt, one bill; the refused one is told with the result, by whoever adopts it too."""
    house.backend.scripts = [Script(damage=damage)]
    for adopted in (False, True):
        [answer] = house.runner().answers([pair()])
        assert isinstance(answer, JobResult)
        assert answer.adopted is adopted
        assert [one["name"] for one in answer.outputs] == ["b"]
        assert [one["name"] for one in answer.refused] == ["a"]
    assert house.backend.sent == ["a"]
    note = house.ledger.history(answer.attempt.id)[-1][2]
    assert note == "accepted 1 outputs, refused 1"


def test_whoever_needs_all_pictures_is_told_that_one_was_refused(house: House) -> None:
    """`run` promises everything that was asked for: it names the picture, and pays nothing more either."""
    house.backend.scripts = [Script(damage="blank")]
    for _ in range(2):
        with pytest.raises(OutputRejected, match="a: a: it came back blank") as caught:
            house.runner().run([pair()])
        assert caught.value.retry is Retry.PERMANENT
    assert house.backend.sent == ["a"]


def test_other_failure_is_told_before_a_refusal(house: House) -> None:
    """A refusal is an answer; a job that was not answered is what keeps the caller from going on."""
    house.backend.scripts = [Script(damage="blank"), Script(states=("failed",), error="boom")]
    with pytest.raises(JobFailed, match="boom"):
        house.runner().answers([job("a"), job("b")])


def test_answer_of_other_files_is_no_answer(house: House) -> None:
    """Nothing of it can be told apart: the worker is to be mended, and then the job may be sent again."""
    house.backend.scripts = [Script(damage="missing")]
    with pytest.raises(OutputRejected, match="0 files came back") as caught:
        house.runner().answers([job()])
    assert not caught.value.refused
    house.backend.scripts = [Script()]
    [answer] = house.runner().answers([job()])
    assert isinstance(answer, JobResult)


def test_no_money_for_another_endpoint_leaves_the_refusal(house: House) -> None:
    """The first answer is paid for: it is not paid again because the second could not be."""
    house.backend.others = ("elsewhere",)
    house.backend.scripts = [Script(damage="blank")]
    with pytest.raises(OverBudget):
        house.runner(budget=MOST_USD + USD / 2).answers([job()])
    [answer] = house.runner().answers([job()])
    assert isinstance(answer, OutputRejected)
    assert house.backend.sent == ["a"]


def test_job_whose_second_attempt_was_lost_may_be_sent_again(house: House) -> None:
    """It was not answered there; but a second refusal ends it, wherever it comes from."""
    house.backend.others = ("elsewhere",)
    house.backend.scripts = [Script(damage="blank"), Script(damage="gone"), Script(damage="blank")]
    with pytest.raises(JobFailed):
        house.runner().answers([job()])
    [answer] = house.runner().answers([job()])
    assert isinstance(answer, OutputRejected)
    assert states(house.attempts(job())) == ["failed", "lost", "failed"]


def test_result_whose_bytes_are_lost_is_made_again_though_it_was_refused_once(house: House) -> None:
    """What was accepted after a refusal is not given up with it."""
    house.backend.scripts = [Script(damage="truncated"), Script()]
    [first] = house.runner().run([job()])
    house.object_of(first).unlink()
    house.backend.remotes[first.attempt.remote_id or ""].forgotten = True
    house.backend.scripts = [Script()]
    [again] = house.runner().run([job()])
    assert states(house.attempts(job())) == ["failed", "succeeded", "succeeded"]
    assert again.outputs == first.outputs


def test_refusal_that_another_process_booked_is_a_refusal_here(house: House) -> None:
    """Whoever waited for its attempt, and whoever comes after it."""
    attempt = house.intend(job(), owner="another")
    refused = [{"name": "a", "media": "image", "code": "blank", "reason": "it came back blank"}]
    ended = house.ledger.move(attempt, "failed", error_code="blank", error="a: blank", refused=refused)
    row = house.ledger.job(house.print(job()))
    assert row is not None
    waited = ended_elsewhere(row, ended)
    assert (type(waited), waited.refused) == (OutputRejected, refused)
    [answer] = house.runner().answers([job()])
    assert isinstance(answer, OutputRejected)
    assert house.backend.sent == []


def test_invalid_job_is_still_found_before_anything_is_paid(house: House) -> None:
    """A refusal exempts its own job alone from being validated."""
    house.backend.scripts = [Script(damage="blank")]
    house.runner().answers([job("a")])
    house.backend.invalid = frozenset({"a", "b"})
    with pytest.raises(InvalidJob):
        house.runner().answers([job("a"), job("b")])
