"""Re-rolls: a shot that fails its gates is drawn again, within rounds and a budget, and nothing drawn is thrown away.

Belongs here: which shots fail, whether another round is worth its money, which take of a shot is kept. What a round
changes is `domain.redraw`'s, how a shot is drawn its stage's (`redraw`); what the set is worth in the end is for the
gates to say.

A round is drawn for all shots that fail or not at all: while one of them fails, the set is refused and the money of the
others is lost. All rounds together ask for at most RYLA_REROLL_BUDGET_SHARE of the pictures of the first one, rounded
up (a picture of a re-roll costs what one of the first round did); what came back refused, or not at all, counts like
any other. Where more than that fails it is not chance, and drawing again would not help. Money has limits of its own:
RYLA_DAILY_BUDGET_USD and its kin. A round that was planned is taken up again whatever the settings say by now: it is
paid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from resources.gpu.errors import JobCancelled, JobFailed, OutputRejected, OverBudget, Retry
from ryla_assets.domain.identity import ImageScore
from ryla_assets.domain.images import ImageRecord, ImageSet, Timing
from ryla_assets.domain.redraw import Drawing, Fault, Route, redrawn_as
from ryla_assets.registry.records import Request
from ryla_assets.studio.faces import Original, score_image
from ryla_assets.studio.likeness import compared
from ryla_assets.studio.plans import REROLLS, PlannedJob, plan_once
from ryla_assets.studio.quality import Seen, look_at
from ryla_assets.studio.rendering import answered, fingerprints, render, timing, together
from ryla_assets.studio.studio import Studio

GIVEN_UP = "refused"  # state of a round's request: what its jobs return cannot be used, so it is never sent again


@dataclass(frozen=True)
class Verdict:
    """What the gates say about one picture; `why` is empty if it holds."""

    why: str
    fault: Fault  # what a re-roll may do something about
    rank: tuple[bool, bool, int, float]  # smaller is better: holds, can be looked at, fewer faults, nearer

    @property
    def holds(self) -> bool:
        """Whether nothing refuses it."""
        return not self.why


@dataclass(frozen=True)
class Round:
    """What became of a round: its pictures, what it cost, how many were asked for; `last`: no other one comes now."""

    images: list[ImageRecord]
    timing: Timing
    asked: int
    last: bool = False


Redraw = Callable[[Mapping[str, Verdict], int], list[PlannedJob]]  # failed shots, number of the round -> jobs
Against = tuple[list[float], Original | None] | None  # whose face is asked for; None: nobody's


def reroll(studio: Studio, request: Request, first: ImageSet, redraw: Redraw | None) -> ImageSet:
    """The set with the better take of each shot that failed; the other takes are its `rejected`, each with its reason.

    A picture that is kept though it fails says so too (`refused`). `redraw` None: nothing is drawn, only that is said.
    """
    against = compared(studio, first) if first.parents else None
    kept, verdicts = first, judged(studio, first, against)
    asked = 0
    for number in range(1, studio.settings.rerolls + 1 if redraw else 1):
        failed = {shot: verdict for shot, verdict in verdicts.items() if not verdict.holds}
        if redraw is None or not failed or not _worth_it(studio, request, first, number, asked, failed):
            break
        drawn = _draw(studio, _request(studio, request, number), partial(redraw, failed, number), number)
        asked += drawn.asked
        kept = _better(studio, kept, drawn.images, verdicts, against)
        kept = kept.model_copy(update={"timing": together(kept.timing, drawn.timing)})
        verdicts = judged(studio, kept, against)
        if drawn.last:
            break
    return kept.model_copy(update={"images": tuple(_told(one, verdicts[one.shot]) for one in kept.images)})


def judged(studio: Studio, manifest: ImageSet, against: Against) -> dict[str, Verdict]:
    """Shot -> what the gates will say about its picture: quality always, identity where a face was declared."""
    verdicts = {}
    for seen in look_at(studio, manifest):
        score = None
        if against is not None and seen.record.expects_face:
            score = score_image(studio, seen.record, manifest, *against)
        verdicts[seen.record.shot] = _verdict(seen, score)
    return verdicts


def redrawn(manifest: ImageSet) -> list[ImageRecord]:
    """The pictures of the set, kept or rejected, that a re-roll drew."""
    return [record for record in (*manifest.images, *manifest.rejected) if record.take % REROLLS]


def cost_per_accepted(manifest: ImageSet) -> float | None:
    """USD of all attempts in all rounds per picture that nothing refuses; None where all are refused."""
    return manifest.timing.cost_usd / len(manifest.good) if manifest.good else None


def drawing_of(first: Drawing, shot: str, failed: Mapping[str, Verdict] | None, route: Route, number: int) -> Drawing:
    """How a stage draws a shot: as `first`, or in round `number` as the shot's failure asks for."""
    return redrawn_as(first, failed[shot].fault, route, number) if failed else first


def _draw(studio: Studio, request: Request, plan: Callable[[], list[PlannedJob]], number: int) -> Round:
    """Draw a round. If a job of it fails for good it is given up; if it was interrupted it is the last one now.

    What of it came is used either way, and all that it cost is told. What was interrupted (no money, a lost worker, a
    job that somebody cancelled) is taken up when the stage runs again.
    """
    planned = plan_once(studio, request, plan)
    asked, last = sum(len(one.job.outputs) for one in planned), False
    if request.state != GIVEN_UP:
        try:
            return Round(*render(studio, planned), asked)
        except (JobFailed, OverBudget) as error:
            studio.caller.tell(f"Re-roll {number} failed, the takes before it hold: {error}")
            last = _is_interrupted(error)
            if not last:
                studio.registry.finish_request(request.id, GIVEN_UP)
    images, _ = render(studio, answered(studio, planned))
    return Round(images, timing(studio.runner.ledger, fingerprints(studio, planned)), asked, last)


def _is_interrupted(error: JobFailed | OverBudget) -> bool:
    """Whether the same jobs may well succeed another time; a worker that returns something else will do it again."""
    if isinstance(error, OutputRejected):
        return False
    return isinstance(error, JobCancelled) or error.retry is not Retry.PERMANENT


def _verdict(seen: Seen, score: ImageScore | None) -> Verdict:
    reasons = [finding.text for finding in seen.refusals]
    failed = score is not None and not score.verified
    far = math.inf if score is None or score.distance is None else score.distance
    if score is not None and failed and score.reason == "distance":
        reasons.append(f"another person: distance {far:.2f}")
    elif score is not None and failed and not reasons:
        reasons.append(score.reason.replace("_", " "))
    return Verdict(
        why="; ".join(reasons),
        fault=_fault(seen, score),
        rank=(bool(reasons), seen.quality is None, len(seen.refusals), far if score is not None else 0.0),
    )


def _fault(seen: Seen, score: ImageScore | None) -> Fault:
    if any(finding.code == "blank" for finding in seen.refusals):
        return "blank"
    return "other_person" if score is not None and score.reason == "distance" else "other"


def _worth_it(
    studio: Studio, request: Request, first: ImageSet, number: int, asked: int, failed: Mapping[str, Verdict]
) -> bool:
    """Whether the round is drawn; one that was planned earlier always is."""
    told = "; ".join(f"{shot}: {verdict.why}" for shot, verdict in failed.items())
    known = studio.registry.request(_name(request, number))
    most = math.ceil(studio.settings.reroll_budget_share * len(first.images))
    if (known is None or known.plan is None) and asked + len(failed) > most:
        studio.caller.tell(
            f"No re-roll of {request.id}: {len(failed)} of {len(first.images)} shots fail and {most - asked} may be "
            f"drawn again (RYLA_REROLL_BUDGET_SHARE). {told}"
        )
        return False
    studio.caller.tell(f"Re-roll {number} of {request.id}: {told}")
    return True


def _name(request: Request, number: int) -> str:
    return f"{request.id}/reroll-{number}"


def _request(studio: Studio, request: Request, number: int) -> Request:
    """Each round is a request of its own, planned once: its pictures are adopted like any others."""
    return studio.registry.open_request(
        _name(request, number),
        character=request.character,
        stage=f"{request.stage}:reroll",
        take=request.take,
        body=request.body,
    )


def _better(
    studio: Studio,
    kept: ImageSet,
    drawn: Sequence[ImageRecord],
    before: Mapping[str, Verdict],
    against: Against,
) -> ImageSet:
    """Of each shot that was drawn again the better take; the first one where both are as bad."""
    new = {record.shot: record for record in drawn}
    trial = kept.model_copy(update={"images": tuple(new.get(old.shot, old) for old in kept.images)})
    after = judged(studio, trial, against)
    winners, losers = [], []
    for old in kept.images:
        if old.shot not in new:
            winners.append(old)
        elif after[old.shot].rank < before[old.shot].rank:
            winners.append(new[old.shot])
            losers.append(_told(old, before[old.shot]))
        else:
            winners.append(old)
            losers.append(_told(new[old.shot], after[old.shot]))
    return kept.model_copy(update={"images": tuple(winners), "rejected": (*kept.rejected, *losers)})


def _told(record: ImageRecord, verdict: Verdict) -> ImageRecord:
    return record.model_copy(update={"refused": verdict.why})
