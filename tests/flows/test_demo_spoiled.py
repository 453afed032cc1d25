"""What goes wrong with the spoiled demo: damage that nobody notices, good pictures accused, a batch that stays refused.

It runs once, as a program would run it; a second time in the same home nothing may be paid.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from resources import images
from resources.gpu.backends.preview.spool import Spool
from ryla_assets.demo_spoiled import COUNT, SPOILINGS, WHO

pytestmark = pytest.mark.flow

CAUGHT_BY = {
    "blank": "blank: luma spreads over 0",
    "other person": "another person: distance",
    "blurred": "picture blurred",
    "duplicate": "the same picture as",
    "two faces": "2 people, one was asked for",
}


def demo(words: list[str], environment: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """`ryla demo --spoiled --json` in a process of its own, with pictures as small as faces allow."""
    command = [sys.executable, "-m", "ryla_assets.cli", "demo", "--spoiled", "--json", *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RYLA_", "DAGSTER_"))}
    clean |= {"RYLA_IMAGE_PX": "384", "RYLA_SHEET_IMAGES": "7", **environment}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """The first run."""
    return demo([], {"RYLA_HOME": str(tmp_path_factory.mktemp("spoiled"))})


def test_every_damage_is_caught_for_what_it_is(ran: tuple[int, dict[str, Any]]) -> None:
    """Five of five, none missed; each with a reason that names it, and a later take in its place."""
    code, report = ran
    assert code == 0, report
    assert {case["spoiled"] for case in report["cases"]} == {one.kind for one in SPOILINGS} == set(CAUGHT_BY)
    for case in report["cases"]:
        assert CAUGHT_BY[case["spoiled"]] in case["caught"], case
        assert case["take"] % 10 > 0
        assert case["cost_usd"] > 0


def test_nothing_good_is_refused_by_its_quality(ran: tuple[int, dict[str, Any]]) -> None:
    """What was not spoiled and was refused all the same is an honest failure of the face, few and named."""
    _, report = ran
    assert all(one["why"].startswith("another person: distance") for one in report["good_refused"]), report
    assert len(report["good_refused"]) <= 4


def test_batch_ends_accepted_and_says_what_it_cost(ran: tuple[int, dict[str, Any]]) -> None:
    """All pictures hold, and the price of one includes what was thrown away."""
    _, report = ran
    assert report["as_expected"]
    assert report["accepted_images"] == report["images"] == COUNT * len(SPOILINGS)
    assert report["cost_per_accepted_usd"] == pytest.approx(report["cost_usd"] / report["images"], abs=1e-6)
    content = [stage for stage in report["character"]["stages"] if stage["asset"] == "generated_images"]
    assert [stage["accepted"] for stage in content] == [True] * len(SPOILINGS)
    assert sum(len(stage["rejected"]) for stage in content) >= len(SPOILINGS)
    assert all(one["refused"] for stage in content for one in stage["rejected"])


def test_damage_costs_whole_jobs_too(ran: tuple[int, dict[str, Any]]) -> None:
    """Some requests have a job for each picture, so that nothing good came with the blank one; others have fewer."""
    with contextlib.closing(sqlite3.connect(Path(ran[1]["home"]) / "ryla.db")) as db:
        labels = [row[0] for row in db.execute("SELECT label FROM gpu_jobs")]
    first_rounds = Counter(label for label in labels if "/generated_images/" in label and "re-roll" not in label)
    assert [first_rounds[f"{WHO}/generated_images/{n}"] == COUNT for n in range(1, 6)] == [
        one.alone for one in SPOILINGS
    ]
    assert {one.alone for one in SPOILINGS} == {True, False}


def test_contact_sheet_is_marked(ran: tuple[int, dict[str, Any]]) -> None:
    """As the procedural picture that it is."""
    assert images.read_mark(Path(ran[1]["contact_sheet"]).read_bytes()) == "algorithmicMedia"


def test_second_run_pays_nothing(ran: tuple[int, dict[str, Any]]) -> None:
    """Every round is adopted, the spoiled takes too: same verdicts, same price."""
    home = ran[1]["home"]
    before = Spool(Path(home) / "preview").executions()
    code, again = demo([], {"RYLA_HOME": home})
    assert code == 0
    assert Spool(Path(home) / "preview").executions() == before
    assert again["cases"] == ran[1]["cases"]
    assert again["cost_usd"] == ran[1]["cost_usd"]
