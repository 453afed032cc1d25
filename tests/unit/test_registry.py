"""What goes wrong with the domain's memory: two writers, old takes, verdicts that come late or change their mind."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from resources.database import open_engine
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.errors import Conflict, DuplicateCharacter, UnknownCharacter
from ryla_assets.registry.registry import Gate, Registry

ASSET, MARA = "character_sheet", "mara-lind"
REQUIRED = ("integrity", "identity")
FIRST, SECOND, THIRD = "1" * 64, "2" * 64, "3" * 64
DESCRIPTION: dict[str, Any] = {
    "name": "Mara Lind",
    "gender": "female",
    "ethnicity": "caucasian",
    "age": 34,
    "eye_color": "green",
    "hair_color": "auburn",
    "hair_style": "wavy",
    "body_type": "athletic",
}


@pytest.fixture
def registry(tmp_path: Path, migrated_database: Path) -> Iterator[Registry]:
    """A registry with one active character, on a clock that ticks a second a look."""
    engine = open_engine(f"sqlite:///{shutil.copy(migrated_database, tmp_path)}")
    ticks = itertools.count(1_000_000.0)
    registry = Registry(engine, clock=lambda: next(ticks))
    add(registry, MARA)
    registry.activate(MARA)
    yield registry
    engine.dispose()


def add(registry: Registry, character: str) -> None:
    registry.add_character(parse_character({"id": character, "config": DESCRIPTION}, source="the test"))


def publish(registry: Registry, sha256: str, *, take: int) -> None:
    request = f"{MARA}/{ASSET}/{take}"
    registry.publish(sha256=sha256, asset=ASSET, character=MARA, take=take, request_id=request)


def gate(claim: str, passed: bool = True, *, scorer: str = "bytes") -> Gate:
    return Gate(claim, passed, "as told" if passed else f"{claim} does not hold", {"identity_mean": 0.2}, scorer)


def judge(registry: Registry, sha256: str, *gates: Gate) -> bool:
    """Write judgements of one manifest; whether it stands accepted after the last."""
    return [registry.judge(ASSET, MARA, sha256, one, required=REQUIRED) for one in gates][-1]


def accepted(registry: Registry) -> str | None:
    head = registry.head(ASSET, MARA)
    return head.accepted_sha256 if head else None


def kinds(registry: Registry, after: int = 0) -> list[str]:
    wanted = ("activated", "base_selected", "asked", f"{ASSET}:accepted", f"{ASSET}:refused")
    return [event.kind for event in registry.events(after, wanted, limit=100)]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in threads that start together; their results, errors included, in order."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001  the test looks at it
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


# ---- characters


def test_second_character_of_one_id_is_refused(registry: Registry) -> None:
    """The first description stays; the error says how to look at it."""
    with pytest.raises(DuplicateCharacter, match="ryla characters show mara-lind"):
        add(registry, MARA)


def test_two_add_one_character_at_once(registry: Registry) -> None:
    """One is told that it exists; nobody sees a database error."""
    results = at_once(*[lambda: add(registry, "kofi-mensah")] * 4)
    assert [type(result) for result in results if result is not None] == [DuplicateCharacter] * 3


def test_unknown_character_is_told(registry: Registry) -> None:
    """Every operation on a character that nobody added says so."""
    for call in (registry.character, registry.activate, registry.retire):
        with pytest.raises(UnknownCharacter, match="nobody"):
            call("nobody")


def test_activation_is_told_once(registry: Registry) -> None:
    """Activating again changes nothing and starts nothing."""
    assert registry.activate(MARA) is False
    assert kinds(registry) == ["activated"]


def test_new_character_is_inactive(registry: Registry) -> None:
    """Importing characters starts nothing by itself."""
    add(registry, "kofi-mensah")
    assert registry.character("kofi-mensah").active is False
    assert [who.id for who in registry.characters(active=True)] == [MARA]
    assert kinds(registry) == ["activated"]


def test_retired_character_leaves_every_list_and_can_come_back(registry: Registry) -> None:
    """Its rows stay; activating it again is a new cause."""
    publish(registry, FIRST, take=1)
    registry.retire(MARA)
    assert registry.characters() == []
    assert registry.manifests(ASSET, MARA) == [FIRST]
    assert registry.activate(MARA) is True
    assert [who.id for who in registry.characters()] == [MARA]
    assert kinds(registry) == ["activated", "activated"]


def test_characters_are_found_by_what_they_wait_for(registry: Registry) -> None:
    """A sensor that polls trainings reads the few that train, not ten thousand descriptions (2.7 s a tick)."""
    add(registry, "kofi-mensah")
    registry.set_lora_status("kofi-mensah", "training")
    assert [who.id for who in registry.characters(lora_status="training")] == ["kofi-mensah"]
    assert registry.characters(active=True, lora_status="training") == []


# ---- selections


def test_latest_pick_holds_and_earlier_ones_are_kept(registry: Registry) -> None:
    """A person may change their mind; the character's row and the events follow."""
    for option, sha in ((1, FIRST), (3, THIRD)):
        image = {"sha256": sha, "manifest_sha256": "a" * 64, "url": f"file:///{sha}.png"}
        registry.select(MARA, option=option, take=1, image=image, who="ops@example.org", why="looks right")
    found = registry.selection(MARA)
    assert found is not None
    assert (found.option, found.image_sha256, found.who) == (3, THIRD, "ops@example.org")
    assert registry.character(MARA).base_image_id == THIRD
    events = registry.events(0, ("base_selected",), limit=10)
    assert [event.detail["option"] for event in events] == [1, 3]
    assert len({event.attempt for event in events}) == 2, "each pick is an attempt of its own"


def test_nobody_picked(registry: Registry) -> None:
    """No pick is None, not an error."""
    assert registry.selection(MARA) is None


# ---- requests and plans


def test_request_never_changes_after_it_was_asked(registry: Registry) -> None:
    """Asking again under the same id finds the first body, and is no second event."""
    common = {"character": MARA, "stage": "generated_images", "take": 1, "event": "asked"}
    first = registry.open_request("mara/1", **common, body={"count": 4})
    again = registry.open_request("mara/1", **common, body={"count": 10})
    assert again == first
    assert kinds(registry) == ["activated", "asked"]


def test_two_planners_get_one_plan(registry: Registry) -> None:
    """Whoever is second reads what the first wrote: a request has one set of fingerprints for ever."""
    registry.open_request("mara/1", character=MARA, stage=ASSET, take=1, body={})
    plans = at_once(*[lambda n=n: registry.plan("mara/1", [{"job": n}], route=f"route-{n}") for n in range(4)])
    assert all(plan == plans[0] for plan in plans)
    found = registry.request("mara/1")
    assert found is not None
    assert (found.plan, found.state) == (plans[0], "planned")
    assert found.route == f"route-{plans[0][0]['job']}", "the route is the one that was planned"


def test_empty_plan_is_a_plan(registry: Registry) -> None:
    """Nothing to do is an answer; it is not planned again."""
    registry.open_request("mara/1", character=MARA, stage=ASSET, take=1, body={})
    registry.plan("mara/1", [])
    assert registry.plan("mara/1", [{"job": 1}]) == []


def test_requests_come_oldest_take_first(registry: Registry) -> None:
    """The order of takes, whatever order they were written in; states select."""
    for take in (2, 1, 3):
        registry.open_request(f"mara/{take}", character=MARA, stage=ASSET, take=take, body={})
    registry.finish_request("mara/2", "done")
    assert [request.take for request in registry.requests(MARA, ASSET)] == [1, 2, 3]
    assert [request.take for request in registry.requests(MARA, ASSET, states=("pending",))] == [1, 3]
    assert (registry.latest_take(MARA, ASSET), registry.latest_take(MARA, "base_images")) == (3, 0)


# ---- manifests and heads


def test_old_takes_stay(registry: Registry) -> None:
    """A new take becomes current; the earlier ones are still listed, oldest first."""
    for take, sha256 in enumerate((FIRST, SECOND, THIRD), start=1):
        publish(registry, sha256, take=take)
    head = registry.head(ASSET, MARA)
    assert head is not None
    assert (head.take, head.current_sha256) == (3, THIRD)
    assert registry.manifests(ASSET, MARA) == [FIRST, SECOND, THIRD]


def test_late_run_of_an_old_take_does_not_win(registry: Registry) -> None:
    """A run that was overtaken is told so; the newer take stays current."""
    publish(registry, SECOND, take=2)
    with pytest.raises(Conflict, match="take 2 of character_sheet"):
        publish(registry, FIRST, take=1)
    head = registry.head(ASSET, MARA)
    assert head is not None
    assert head.current_sha256 == SECOND
    assert registry.manifests(ASSET, MARA) == [SECOND], "and nothing was written"


def test_answers_to_requests_come_in_any_order(registry: Registry) -> None:
    """Content requests are not each other's successors: the one made last is current, and the earlier one stays."""
    publish(registry, SECOND, take=2)
    request = f"{MARA}/generated_images/1"
    registry.publish(sha256=FIRST, asset=ASSET, character=MARA, take=1, request_id=request, in_order=False)
    head = registry.head(ASSET, MARA)
    assert head is not None
    assert head.current_sha256 == FIRST
    assert registry.manifests(ASSET, MARA) == [SECOND, FIRST]


def test_publishing_again_changes_nothing(registry: Registry) -> None:
    """The same manifest keeps its acceptance and its version."""
    publish(registry, FIRST, take=1)
    judge(registry, FIRST, gate("integrity"), gate("identity"))
    before = registry.head(ASSET, MARA)
    publish(registry, FIRST, take=1)
    assert registry.head(ASSET, MARA) == before


def test_every_publisher_moves_the_head_or_is_told(registry: Registry) -> None:
    """Eight takes published at once: the newest is current, the version counts the moves, the others conflict."""
    calls = [lambda n=n: publish(registry, f"{n:064d}", take=n) for n in range(1, 9)]
    results = at_once(*calls)
    moved = [result for result in results if result is None]
    head = registry.head(ASSET, MARA)
    assert head is not None
    assert (head.take, head.current_sha256) == (8, f"{8:064d}")
    assert head.version == len(moved)
    assert all(isinstance(result, Conflict) for result in results if result is not None)


# ---- gates


def test_accepted_only_with_every_required_claim(registry: Registry) -> None:
    """One claim is not enough, whichever it is; a told claim counts for nothing."""
    publish(registry, FIRST, take=1)
    assert judge(registry, FIRST, gate("timing")) is False
    assert judge(registry, FIRST, gate("identity")) is False
    assert accepted(registry) is None
    assert judge(registry, FIRST, gate("integrity")) is True
    assert accepted(registry) == FIRST


def test_made_from_something_refused_is_never_accepted(registry: Registry) -> None:
    """Whatever its own claims say: only recording gates let anything be made from a refused manifest."""
    publish(registry, FIRST, take=1)
    for claim in ("identity", "integrity"):
        assert not registry.judge(ASSET, MARA, FIRST, gate(claim), required=("identity", "integrity"), tainted=True)
    assert accepted(registry) is None


def test_failed_told_claim_does_not_refuse(registry: Registry) -> None:
    """Time is told: a slow sheet is accepted all the same."""
    publish(registry, FIRST, take=1)
    assert judge(registry, FIRST, gate("integrity"), gate("identity"), gate("timing", passed=False)) is True
    assert f"{ASSET}:refused" not in kinds(registry)


def test_later_failure_takes_the_acceptance_away(registry: Registry) -> None:
    """A file that was lost after it was accepted is no longer accepted, and passing again restores it."""
    publish(registry, FIRST, take=1)
    judge(registry, FIRST, gate("integrity"), gate("identity"))
    assert judge(registry, FIRST, gate("integrity", passed=False)) is False
    assert accepted(registry) is None
    assert judge(registry, FIRST, gate("integrity")) is True
    assert kinds(registry, after=1) == [f"{ASSET}:accepted", f"{ASSET}:refused", f"{ASSET}:accepted"]


@pytest.mark.parametrize(("first", "second"), [("arcface", "dlib"), ("dlib", "arcface")])
def test_verdict_of_one_scorer_does_not_hide_another_s(registry: Registry, first: str, second: str) -> None:
    """A claim holds if every scorer that judged it says so, whichever looked last."""
    publish(registry, FIRST, take=1)
    judge(registry, FIRST, gate("integrity"), gate("identity", passed=False, scorer=first))
    assert judge(registry, FIRST, gate("identity", scorer=second)) is False
    assert judge(registry, FIRST, gate("identity", scorer=first)) is True


def test_refusal_is_told_once(registry: Registry) -> None:
    """Executing a failed check again is no second refusal; a refusal after a pass is."""
    publish(registry, FIRST, take=1)
    bad, good = gate("identity", passed=False), gate("identity")
    judge(registry, FIRST, bad, bad, bad)
    assert kinds(registry, after=1) == [f"{ASSET}:refused"]
    judge(registry, FIRST, good, bad)
    assert kinds(registry, after=1) == [f"{ASSET}:refused"] * 2


def test_new_take_is_not_accepted_by_the_old_one_s_verdicts(registry: Registry) -> None:
    """Judgements are about one manifest's bytes."""
    publish(registry, FIRST, take=1)
    judge(registry, FIRST, gate("integrity"), gate("identity"))
    publish(registry, SECOND, take=2)
    head = registry.head(ASSET, MARA)
    assert head is not None
    assert head.accepted_sha256 != head.current_sha256
    assert judge(registry, SECOND, gate("integrity")) is False
    assert registry.gates(ASSET, MARA, SECOND) == [gate("integrity")]


def test_late_verdict_about_an_old_take_accepts_nothing(registry: Registry) -> None:
    """A slow check of a manifest that was replaced is kept as a row, and moves nothing."""
    publish(registry, FIRST, take=1)
    judge(registry, FIRST, gate("integrity"))
    publish(registry, SECOND, take=2)
    assert judge(registry, FIRST, gate("identity")) is False
    assert accepted(registry) is None
    assert [one.claim for one in registry.gates(ASSET, MARA, FIRST)] == ["identity", "integrity"]


def test_judges_at_once_accept_once(registry: Registry) -> None:
    """Checks of one asset run side by side in two runs; acceptance happens, and is told one time."""
    publish(registry, FIRST, take=1)
    calls = [
        lambda c=claim: judge(registry, FIRST, gate(c)) for claim in ("integrity", "identity", "integrity", "identity")
    ]
    results = at_once(*calls)
    assert True in results
    assert accepted(registry) == FIRST
    assert kinds(registry, after=1) == [f"{ASSET}:accepted"]


# ---- events


def test_cursor_reads_what_is_new_and_nothing_twice(registry: Registry) -> None:
    """Reading in steps of two sees every event once, in order; other kinds are passed over."""
    for number in range(5):
        registry.emit("asked", MARA, number)
        registry.emit("noise", MARA, number)
    seen, cursor = [], 0
    while found := registry.events(cursor, ("asked",), limit=2):
        assert len(found) <= 2
        seen += [event.attempt for event in found]
        cursor = found[-1].id
    assert seen == [0, 1, 2, 3, 4]


def test_faces_are_remembered_by_pixels_and_scorer(registry: Registry) -> None:
    """No face found is remembered as well as a face; another scorer looks for itself."""
    registry.keep_faces(FIRST, "dlib", [])
    registry.keep_faces(SECOND, "dlib", [{"width": 90.0}])
    assert registry.faces(FIRST, "dlib") == []
    assert registry.faces(SECOND, "dlib") == [{"width": 90.0}]
    assert registry.faces(FIRST, "arcface") is None
