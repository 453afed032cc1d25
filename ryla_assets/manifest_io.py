"""The one IO manager: outputs are published manifests, inputs are accepted manifests.

Loading an input *is* the gate: what was refused, or never judged, is not loaded, and the step fails before it can
spend anything. Nothing is pickled; what was loaded is recorded by hash.
"""

from typing import Any

import dagster as dg

from ryla_assets.failures import fails_clearly
from ryla_assets.studio.studio import Studio, name_of


class ManifestIOManager(dg.IOManager):
    """Publishes and loads manifests through the studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    @fails_clearly
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the manifest and make it current."""
        if obj is not None:
            context.log.debug("published manifest %s", self.studio.publish(obj))

    @fails_clearly
    def load_input(self, context: dg.InputContext) -> Any:
        """The accepted manifest of the upstream asset for this character."""
        manifest = self.studio.accepted(context.asset_key.path[-1], context.partition_key)
        context.add_input_metadata({"manifest_sha256": name_of(manifest), "take": manifest.take})
        return manifest


def manifest_io_manager(context: dg.InitResourceContext) -> ManifestIOManager:
    """The IO manager on the run's studio."""
    return ManifestIOManager(context.resources.studio)
