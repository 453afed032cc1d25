"""The promise on paid work as predicates over one seed's history.

Each predicate says in one line what must hold, and yields a sentence for each breach; `check` asks all of them. They
rest on the far side's own record wherever there is one, never on what the product believes of itself. Nothing here
runs anything.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from resources.gpu.backends.runpod.watch import ORDER_S
from resources.gpu.errors import OverBudget
from resources.gpu.records import OPEN_STATES, TERMINAL_STATES, Attempt
from tests.chaos.history import History, RemoteJob

ROUNDING_USD = 1e-6  # sums of floats
BLINK_S = 0.5  # dilated seconds: two processes write down one moment
CENT_USD = 1e-4  # as money is told
NEEDS = re.compile(r"can cost \$(\d+\.\d+)")
BUDGET = f"[{OverBudget.code}]"  # how a refusal says that a budget is the reason

Predicate = Callable[[History], Iterator[str]]


def every_job_ends_accepted_or_explained(history: History) -> Iterator[str]:
    """Each job that was asked for has an accepted result, or its caller was told of a budget or of refused pictures.

    Nothing fails any more when the last callers ask: no other reason can be true, and none is forgotten.
    """
    for fingerprint, label in history.asked.items():
        row = history.jobs.get(fingerprint)
        if row is not None and row.accepted_attempt is not None:
            continue
        if any(attempt.is_open for attempt in history.of(fingerprint)):
            yield f"{label}: still open after everything was drained"
        elif not (told := history.refusals.get(fingerprint)):
            yield f"{label}: neither accepted nor explained"
        elif BUDGET not in told and not any(attempt.refused for attempt in history.of(fingerprint)[-1:]):
            yield f"{label}: refused though nothing fails any more: {told}"


def pictures_are_refused_once(history: History) -> Iterator[str]:
    """No more answers of a job were refused for their pictures than the far side had spoiled."""
    spoiled: Counter[str] = Counter()
    for job in history.remote:
        if (sender := history.attempt_of(job)) is not None:
            spoiled[sender.fingerprint] += job.damaged
    refused = Counter(attempt.fingerprint for attempt in history.attempts if attempt.refused)
    for fingerprint, count in refused.items():
        if count > spoiled[fingerprint]:
            yield f"job {fingerprint[:12]}: {count} answers were refused, {spoiled[fingerprint]} were spoiled"


def budgets_refuse_what_does_not_fit(history: History) -> Iterator[str]:
    """Where a budget was told as the reason, one of them had no room for what that job can cost, at some moment."""
    for fingerprint, told in history.refusals.items():
        if BUDGET not in told:
            continue
        needs = NEEDS.search(told)
        room = [limit - held for limit, held in _held(history, fingerprint)]
        if needs is None or min(room) >= float(needs[1]) + CENT_USD:
            yield f"{history.asked.get(fingerprint, fingerprint)}: refused with ${min(room):.4f} left always: {told}"


def _held(history: History, fingerprint: str) -> Iterator[tuple[float, float]]:
    """(limit, the most that was ever spent and held at once) of each budget that a job falls under; USD."""
    row, budgets = history.jobs.get(fingerprint), history.budgets
    owner = row.owner if row is not None else ""
    mine = {key for key, job in history.jobs.items() if job.owner == owner}
    yield budgets.daily_usd, _most(history, lambda _: True)
    if budgets.character_usd is not None:
        yield budgets.character_usd, _most(history, lambda attempt: attempt.fingerprint in mine)
    if budgets.run_usd is not None:
        yield budgets.run_usd, _most(history, lambda attempt: bool(attempt.run_id))


def _most(history: History, counts: Callable[[Attempt], bool]) -> float:
    by_id, held, most = {attempt.id: attempt for attempt in history.attempts if counts(attempt)}, {}, 0.0
    for event in history.events:
        attempt = by_id.get(event.attempt)
        if attempt is not None:
            held[attempt.id] = attempt.cost_usd if event.after in TERMINAL_STATES else attempt.exposure_usd
            most = max(most, sum(held.values()))
    return most


def every_bad_end_is_explained(history: History) -> Iterator[str]:
    """Each attempt that ended without a result says why, with a code."""
    for attempt in history.attempts:
        if attempt.state in TERMINAL_STATES - {"succeeded"} and not (attempt.error_code and attempt.error):
            yield f"attempt {attempt.id} ended {attempt.state} without a reason"


def one_result_is_accepted(history: History) -> Iterator[str]:
    """For each job at most one result was ever accepted, by an attempt that succeeded; another where it was lost."""
    job_of = {attempt.id: attempt.fingerprint for attempt in history.attempts}
    times = Counter(job_of.get(e.attempt, e.attempt) for e in history.events if e.note.startswith("accepted "))
    for name, count in times.items():
        if count > 1 + history.bereft.get(name, 0):
            yield f"job {name[:12]}: {count} results were accepted"
    for row in history.jobs.values():
        accepted = [a for a in history.of(row.fingerprint) if a.id == row.accepted_attempt]
        if row.accepted_attempt is not None and [a.state for a in accepted] != ["succeeded"]:
            yield f"job {row.fingerprint[:12]}: its accepted attempt {row.accepted_attempt} is none that succeeded"


def what_was_accepted_stays(history: History) -> Iterator[str]:
    """A result that was accepted in one life, and not lost by the store, is the accepted one in all later lives."""
    for life, earlier in enumerate(history.earlier, 1):
        for fingerprint, attempt in earlier.items():
            if fingerprint in history.bereft:
                continue
            row = history.jobs.get(fingerprint)
            if row is None or row.accepted_attempt != attempt:
                yield f"job {fingerprint[:12]}: attempt {attempt} was accepted in life {life}, and is not any more"


def accepted_results_can_be_read(history: History) -> Iterator[str]:
    """Every accepted output is in the store and decodes to the picture or file that was asked for."""
    yield from history.unreadable


def one_attempt_is_open(history: History) -> Iterator[str]:
    """At no moment were two attempts of one job open."""
    job_of = {attempt.id: attempt.fingerprint for attempt in history.attempts}
    open_now: dict[str, set[str]] = defaultdict(set)
    for event in history.events:
        mine = open_now[job_of.get(event.attempt, "")]
        if event.after in OPEN_STATES:
            mine.add(event.attempt)
        else:
            mine.discard(event.attempt)
        if len(mine) > 1:
            yield f"{len(mine)} attempts of job {job_of[event.attempt][:12]} were open at once: {sorted(mine)}"


def ends_are_final(history: History) -> Iterator[str]:
    """No attempt moved after its end, every move began where the last one had led, and rows are what events say."""
    at: dict[str, str] = {}
    for event in history.events:
        before = at.get(event.attempt, "")
        if before in TERMINAL_STATES:
            yield f"attempt {event.attempt} was {before} and became {event.after}"
        elif event.before != before:
            yield f"attempt {event.attempt} was {before!r}, and a move began at {event.before!r}"
        at[event.attempt] = event.after
    for attempt in history.attempts:
        if at.get(attempt.id) != attempt.state:
            yield f"attempt {attempt.id} is {attempt.state}, its last event says {at.get(attempt.id)}"


def ends_are_settled(history: History) -> Iterator[str]:
    """Each ended attempt has its bill booked with a basis, and gave its reservation back."""
    for attempt in history.attempts:
        if attempt.is_open:
            continue
        if attempt.settled_at is None or attempt.cost_basis is None or attempt.reserved_usd:
            yield f"attempt {attempt.id} ended {attempt.state} and is not settled"


def every_remote_job_has_its_intent(history: History) -> Iterator[str]:
    """Every job that the far side accepted belongs to an attempt whose intent was committed before."""
    intended = {event.attempt: event.at for event in history.events if event.after == "intended"}
    for job in history.remote:
        attempt = history.attempt_of(job)
        if attempt is None:
            yield f"the far side worked on {job.id}, which no attempt of the ledger sent"
        elif intended.get(attempt.id, float("inf")) > job.at + BLINK_S:
            yield f"{job.id} was sent before the intent of attempt {attempt.id} was committed"


def one_remote_job_an_attempt(history: History) -> Iterator[str]:
    """No attempt was sent twice."""
    sent = Counter(attempt.id for job in history.remote if (attempt := history.attempt_of(job)) is not None)
    yield from (f"attempt {name} was sent {count} times" for name, count in sent.items() if count > 1)


def known_ids_are_right(history: History) -> Iterator[str]:
    """A remote id in the ledger names the very job that its attempt sent."""
    real = {f"{job.endpoint}/{job.id}": job for job in history.remote}
    for attempt in history.attempts:
        endpoint, _, rest = (attempt.remote_id or "").partition("/")
        name = rest.partition("/")[0]
        if not name or name == "-":
            continue
        job = real.get(f"{endpoint}/{name}")
        sender = history.attempt_of(job) if job is not None else None
        if sender is None or sender.id != attempt.id:
            yield f"attempt {attempt.id} is recorded as {attempt.remote_id}, which it did not send"


def nothing_is_sent_beside_an_open_attempt(history: History) -> Iterator[str]:
    """While an attempt of a job was open or unknown, the far side accepted no other attempt of that job."""
    for job in history.remote:
        sender = history.attempt_of(job)
        if sender is None:
            continue
        for other in history.of(sender.fingerprint):
            end = other.settled_at if other.settled_at is not None else float("inf")
            if other.id != sender.id and other.intended_at + BLINK_S < job.at < end - BLINK_S:
                yield f"{job.id} of attempt {sender.id} arrived while attempt {other.id} of its job was open"


def settling_sends_nothing(history: History) -> Iterator[str]:
    """Reconciling leftovers starts no new paid work; a dead process' last request may still arrive meanwhile."""
    if history.begun_by_settling:
        yield f"{history.begun_by_settling} attempts began while leftovers were settled"


def nothing_lives_on(history: History) -> Iterator[str]:
    """After the drain nothing runs or waits on the far side."""
    yield from (f"still alive there: {name}" for name in history.alive)


def what_was_given_up_was_stopped(history: History) -> Iterator[str]:
    """A job whose attempt was cancelled or timed out had ended on the far side by then."""
    for job in history.remote:
        attempt = history.attempt_of(job)
        if attempt is None or attempt.state not in ("cancelled", "timed_out") or attempt.remote_id is None:
            continue
        if job.ended is not None and job.ended > (attempt.settled_at or 0.0) + BLINK_S:
            late_s = job.ended - (attempt.settled_at or 0.0)
            yield f"{job.id} went on for {late_s:.1f} s after attempt {attempt.id} had ended"


def costs_cover_the_bill_of_each_job(history: History) -> Iterator[str]:
    """Each attempt is booked with at least what its job's execution, or its pod, was billed, hidden runs apart."""
    for job in history.remote:
        attempt = history.attempt_of(job)
        if attempt is not None and attempt.cost_usd + history.untold_usd(job) + ROUNDING_USD < job.executed_usd:
            yield (
                f"attempt {attempt.id} ({attempt.state}, {attempt.cost_basis}) is booked with ${attempt.cost_usd:.6f}, "
                f"its job {job.id} cost ${job.executed_usd:.6f}"
            )


def costs_cover_each_worker(history: History) -> Iterator[str]:
    """Attempts that ran on one worker alone are booked with its start, runs and idle time since they came."""
    jobs = {job.id: job for job in history.remote}
    for worker in history.workers:
        ran = [jobs[name] for name in worker.jobs if name in jobs]
        senders = [attempt for job in ran if (attempt := history.attempt_of(job)) is not None]
        if not ran or len(senders) < len(ran) or any(job.runs > 1 for job in ran):
            continue
        booked = sum(attempt.cost_usd for attempt in senders)
        doubt_usd = _start_in_doubt_s(ran, senders) * worker.usd_per_s
        if booked + worker.hidden_usd + doubt_usd + ROUNDING_USD < worker.usd:
            yield f"worker {worker.id} cost ${worker.usd:.6f}; its {len(ran)} jobs are booked with ${booked:.6f}"


def _start_in_doubt_s(ran: Sequence[RemoteJob], senders: Sequence[Attempt]) -> float:
    """Seconds of a worker's start that may be booked short: ends that are seen late are seen out of order, and the
    start is then booked as another job's wait. On a machine that is busy with others 40 times as fast is late soon.
    """
    late_s = [(a.settled_at or 0.0) - job.ended for a, job in zip(senders, ran, strict=True) if job.ended is not None]
    if max(late_s, default=0.0) <= ORDER_S:
        return 0.0
    waits_s = [attempt.queue_s + attempt.cold_s for attempt in senders]
    return max(waits_s) - min(waits_s)


def costs_cover_the_whole_bill(history: History) -> Iterator[str]:
    """All that is booked together is at least the account's bill, apart from what nobody tells."""
    booked = sum(attempt.cost_usd for attempt in history.attempts)
    untold = history.untold_total_usd
    if booked + untold + ROUNDING_USD < history.bill_usd:
        yield f"${booked:.6f} are booked (+ ${untold:.6f} that nobody tells), the bill is ${history.bill_usd:.6f}"


def exposure_is_the_most(history: History) -> Iterator[str]:
    """No attempt cost more than the exposure that was reserved for it."""
    for attempt in history.attempts:
        if attempt.cost_usd > attempt.exposure_usd + ROUNDING_USD:
            most = f"${attempt.exposure_usd:.6f}"
            yield f"attempt {attempt.id} cost ${attempt.cost_usd:.6f}; at most {most} were expected"


def budgets_hold(history: History) -> Iterator[str]:
    """When an attempt began, everything spent and everything that open work can still cost fitted each budget."""
    budgets, by_id = history.budgets, {attempt.id: attempt for attempt in history.attempts}
    groups: tuple[tuple[str, float | None, Callable[[Attempt], str]], ...] = (
        ("day", budgets.daily_usd, lambda _: ""),
        ("character", budgets.character_usd, lambda a: getattr(history.jobs.get(a.fingerprint), "owner", "")),
        ("run", budgets.run_usd, lambda a: a.run_id or ""),
    )
    for name, limit, key in groups:
        if limit is None:
            continue
        committed: dict[str, dict[str, float]] = defaultdict(dict)
        for event in history.events:
            attempt = by_id.get(event.attempt)
            if attempt is None:
                continue
            group = committed[key(attempt)]
            group[attempt.id] = attempt.exposure_usd if event.after in OPEN_STATES else attempt.cost_usd
            if event.after == "intended" and sum(group.values()) > limit + ROUNDING_USD:
                yield f"attempt {attempt.id} began with ${sum(group.values()):.4f} in a {name} budget of ${limit:.4f}"


def no_secret_is_told(history: History) -> Iterator[str]:
    """Neither the ledger nor anything printed or logged holds a key, a webhook's token or a signed URL's signature."""
    for name, secret in history.secrets.items():
        yield from (f"{name} stands in {place}" for place, text in history.texts.items() if secret in text)


PREDICATES: tuple[Predicate, ...] = (
    every_job_ends_accepted_or_explained,
    pictures_are_refused_once,
    budgets_refuse_what_does_not_fit,
    every_bad_end_is_explained,
    one_result_is_accepted,
    what_was_accepted_stays,
    accepted_results_can_be_read,
    one_attempt_is_open,
    ends_are_final,
    ends_are_settled,
    every_remote_job_has_its_intent,
    one_remote_job_an_attempt,
    known_ids_are_right,
    nothing_is_sent_beside_an_open_attempt,
    settling_sends_nothing,
    nothing_lives_on,
    what_was_given_up_was_stopped,
    costs_cover_the_bill_of_each_job,
    costs_cover_each_worker,
    costs_cover_the_whole_bill,
    exposure_is_the_most,
    budgets_hold,
    no_secret_is_told,
)


def check(history: History) -> list[str]:
    """Every breach of every predicate, each with the predicate's name; empty if the promise was kept."""
    return [f"{predicate.__name__}: {breach}" for predicate in PREDICATES for breach in predicate(history)]
