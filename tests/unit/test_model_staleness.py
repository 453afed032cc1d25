"""A changed model shows what was made with it as stale: the data version of `model_files` is what its files are."""

from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from resources.gpu.backends.preview.backend import PreviewBackend
from ryla_assets.build import build_defs
from ryla_assets.instance import add_partition, materialize
from ryla_assets.registry.records import Character
from ryla_assets.studio.studio import Studio

WHO = "mara-lind"


def test_lost_model_file_makes_base_images_stale(studio: Studio, make_character: Callable[..., Character]) -> None:
    """Fresh after a run; stale once the backend's model files are other ones."""
    make_character(studio, WHO)
    with dg.instance_for_test() as instance:
        add_partition(instance, WHO)
        assert materialize(studio, instance, ["model_files", "character", "base_images"], character=WHO).success
        assert status(instance) == StaleStatus.FRESH
        backend = studio.runner.backend
        assert isinstance(backend, PreviewBackend)
        backend.files = {folder: names for folder, names in backend.model_files().items() if folder != "pulid"}
        assert materialize(studio, instance, ["model_files"]).success
        assert status(instance) == StaleStatus.STALE


def status(instance: dg.DagsterInstance) -> StaleStatus:
    """What Dagster says of the character's base images."""
    graph = build_defs().resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    return resolver.get_status(dg.AssetKey("base_images"), WHO)
