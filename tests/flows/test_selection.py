"""Picking a base image by every way there is, and regenerating what was picked from."""

from collections.abc import Iterator

import dagster as dg
import pytest

from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import add_partition, materialize, why
from ryla_assets.studio.base import pick
from ryla_assets.studio.plans import regenerate
from ryla_assets.studio.studio import Studio

pytestmark = pytest.mark.flow
WHO = "mara"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that knows the character's partition."""
    with dg.instance_for_test() as made:
        add_partition(made, WHO)
        yield made


def test_a_pick_in_the_run_config_is_recorded_with_its_who(
    studio: Studio, make_character: object, instance: dg.DagsterInstance
) -> None:
    """Launching selected_base_image with an option is a pick like any other: who, option, take and image are kept."""
    make_character(studio, WHO)  # type: ignore[operator]
    assert materialize(studio, instance, ["base_images"], character=WHO).success
    config = {"selected_base_image": {"option": 2, "who": "ops"}}
    assert materialize(studio, instance, ["selected_base_image"], character=WHO, config=config).success
    picked, base = studio.registry.selection(WHO), studio.current("base_images", WHO)
    assert isinstance(base, ImageSet)
    assert picked is not None
    assert (picked.who, picked.option, picked.take) == ("ops", 2, 1)
    assert picked.image_sha256 == base.images[1].sha256
    assert studio.registry.character(WHO).base_image_id == base.images[1].sha256
    assert studio.is_accepted("selected_base_image", WHO)


def test_a_pick_in_the_run_config_without_a_who_is_refused(
    studio: Studio, make_character: object, instance: dg.DagsterInstance
) -> None:
    """An option is a person's review: the run fails and names the field that is missing."""
    make_character(studio, WHO)  # type: ignore[operator]
    assert materialize(studio, instance, ["base_images"], character=WHO).success
    config = {"selected_base_image": {"option": 2}}
    result = materialize(studio, instance, ["selected_base_image"], character=WHO, config=config)
    assert not result.success
    assert "who: a pick is the review" in why(result)
    assert studio.registry.selection(WHO) is None


def test_a_new_take_leaves_the_old_one_and_its_pick_alone(
    studio: Studio, make_character: object, instance: dg.DagsterInstance
) -> None:
    """Regenerating makes other pictures; the earlier take is still there, and the pick still names its picture."""
    make_character(studio, WHO)  # type: ignore[operator]
    assert materialize(studio, instance, ["base_images"], character=WHO).success
    first = studio.current("base_images", WHO)
    pick(studio, WHO, option=1, who="test", why="first take")
    regenerate(studio, WHO, "base_images")
    assert materialize(studio, instance, ["base_images"], character=WHO).success
    second = studio.current("base_images", WHO)
    assert isinstance(first, ImageSet)
    assert isinstance(second, ImageSet)
    assert (first.take, second.take) == (1, 2)
    assert not {i.pixels_sha256 for i in first.images} & {i.pixels_sha256 for i in second.images}
    assert len(studio.registry.manifests("base_images", WHO)) == 2
    picked = studio.registry.selection(WHO)
    assert picked is not None
    assert picked.image_sha256 == first.images[0].sha256
    assert [studio.store.get("images", image.sha256) for image in first.images]
