"""The code location's entry; everything is in `build`."""

import dagster as dg

from ryla_assets.build import build_defs


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this deployment."""
    return build_defs()
