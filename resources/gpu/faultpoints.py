"""The moments at which a process may die, by name: a test that wants it to die exactly there installs a hook.

Belongs here: the names and their meanings. The life of an attempt says `reached(NAME)` wherever a row was just written
or something just left this machine; in production that is one comparison and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

INTENT_COMMITTED = "intent_committed"  # the intent and its reservation are on disk, nothing is sent
BEFORE_SUBMIT = "before_submit"  # the submission is about to leave
AFTER_SUBMIT = "after_submit"  # the far side answered with an id that is written nowhere yet
REMOTE_ID_RECORDED = "remote_id_recorded"  # the id is on disk
OUTCOME_UNKNOWN = "outcome_unknown"  # "may or may not have arrived" is on disk
FOUND = "found"  # an unknown attempt was found on the far side; not written yet
PRESUMED_LOST = "presumed_lost"  # an unknown attempt is about to be booked with the most it can cost
OBSERVED_QUEUED = "observed_queued"  # a state was seen; the row does not say so yet (this and the next five)
OBSERVED_RUNNING = "observed_running"
OBSERVED_SUCCEEDED = "observed_succeeded"
OBSERVED_FAILED = "observed_failed"
OBSERVED_CANCELLED = "observed_cancelled"
OBSERVED_LOST = "observed_lost"
BEFORE_FETCH = "before_fetch"  # it succeeded, its files are still remote only
AFTER_FETCH = "after_fetch"  # the files are in memory, unchecked
BEFORE_ACCEPT = "before_accept"  # the files are in the store, no row names them
ACCEPTED = "accepted"  # result and bill are on disk
BEFORE_REPLACE = "before_replace"  # what the store lost of an accepted result was fetched anew, or is gone there too
REPLACED = "replaced"  # the job's row says which
ENDED = "ended"  # an end without a result, and its bill, are on disk
LEASE_TAKEN = "lease_taken"  # an attempt that somebody else had begun is ours now
CANCEL_SENT = "cancel_sent"  # the far side was told to stop; the row is still open

POINTS = (
    INTENT_COMMITTED,
    BEFORE_SUBMIT,
    AFTER_SUBMIT,
    REMOTE_ID_RECORDED,
    OUTCOME_UNKNOWN,
    FOUND,
    PRESUMED_LOST,
    OBSERVED_QUEUED,
    OBSERVED_RUNNING,
    OBSERVED_SUCCEEDED,
    OBSERVED_FAILED,
    OBSERVED_CANCELLED,
    OBSERVED_LOST,
    BEFORE_FETCH,
    AFTER_FETCH,
    BEFORE_ACCEPT,
    ACCEPTED,
    BEFORE_REPLACE,
    REPLACED,
    ENDED,
    LEASE_TAKEN,
    CANCEL_SENT,
)


class Death(BaseException):
    """What a hook raises to play a kill inside one process: nothing handles it, nothing tidies up after it."""


_hook: Callable[[str], None] | None = None


def install(hook: Callable[[str], None] | None) -> None:
    """From now on `hook` hears every point that this process reaches; None: nobody does."""
    global _hook  # noqa: PLW0603  one process, one hook
    _hook = hook


def reached(name: str) -> None:
    """The process is at `name` now. Raises ValueError, where a hook is installed, for a name that POINTS lacks."""
    if _hook is None:
        return
    if name not in POINTS:
        raise ValueError(f"{name!r} is no fault point.")
    _hook(name)
