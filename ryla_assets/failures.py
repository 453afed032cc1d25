"""Our errors as Dagster failures: mapped once, here.

Only what another attempt can mend is retried by Dagster; everything else says what to do instead.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg

from resources.gpu.errors import GpuError, Retry
from resources.storage import StorageError
from ryla_assets.domain.errors import RylaError
from workflows.errors import WorkflowError

P = ParamSpec("P")
T = TypeVar("T")

OURS = (RylaError, GpuError, StorageError, WorkflowError)


def failure(error: Exception) -> dg.Failure:
    """One of our errors as a dg.Failure: its sentence (with the diagnosis), its code, the way out, the cost so far."""
    retry = isinstance(error, GpuError) and error.retry in (Retry.TRANSIENT, Retry.ELSEWHERE)
    metadata: dict[str, Any] = {"error": type(error).__name__, "code": getattr(error, "code", "storage")}
    if way_out := getattr(error, "way_out", ""):
        metadata["way_out"] = way_out
    if isinstance(error, GpuError):
        metadata["cost_usd"] = float(error.cost_usd)
        if error.evidence:
            metadata["evidence"] = dg.MetadataValue.json(error.evidence)
    return dg.Failure(str(error), metadata=metadata, allow_retries=retry)


def fails_clearly(function: Callable[P, T]) -> Callable[P, T]:
    """Let a step or input loader fail with our sentence instead of a stack trace."""

    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def generator(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                yield from cast(Any, function(*args, **kwargs))
            except OURS as error:
                raise failure(error) from error

        return cast(Callable[P, T], generator)

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OURS as error:
            raise failure(error) from error

    return wrapped
