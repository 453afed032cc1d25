"""Two settings move the whole product's store to S3: what was in a folder, is in the bucket, and nowhere else."""

from collections.abc import Callable
from urllib.parse import urlsplit

import dagster as dg
import pytest
from starlette.testclient import TestClient

from resources.storage_s3 import S3Store
from ryla_assets import doctor
from ryla_assets.api.app import build_app
from ryla_assets.domain.images import ImageSet
from ryla_assets.instance import add_partition, materialize
from ryla_assets.links import Links
from ryla_assets.settings import Settings
from ryla_assets.studio.studio import Studio
from tests.s3 import S3Server

WHO = "mara"


@pytest.mark.flow
def test_pictures_are_made_kept_and_served_from_s3(
    s3: S3Server, open_studio: Callable[..., Studio], make_character: Callable[..., object]
) -> None:
    """base_images on the preview backend: three pictures in the bucket, none in the home, thumbnails over HTTP."""
    studio = open_studio(storage_url=s3.url(), **s3.settings())
    assert isinstance(studio.store, S3Store)
    make_character(studio, WHO)
    with dg.instance_for_test() as instance:
        add_partition(instance, WHO)
        assert materialize(studio, instance, ["base_images"], character=WHO).success
    made = studio.current("base_images", WHO)
    assert isinstance(made, ImageSet)
    kept = s3.objects(studio.store)
    assert {f"images/{i.sha256[:2]}/{i.sha256}.png" for i in made.images} <= set(kept)
    assert any(name.startswith("manifests/") for name in kept)
    assert not (studio.settings.home / "store").exists()
    client = TestClient(build_app(studio.settings, studio=studio))
    for image in made.images:
        served = client.get(urlsplit(Links(studio.settings.home, "http://app").thumbnail(image.sha256)).path)
        assert (served.status_code, served.headers["content-type"]) == (200, "image/webp")


def test_doctor_says_whether_the_store_is_reached(s3: S3Server, home: object) -> None:
    """With the right key it writes, reads and signs; with a wrong one, or nowhere, it names what to set."""
    good = Settings(storage_url=s3.url(), **s3.settings())
    found = doctor._store(good)
    assert (found.state, "presigned URLs too" in found.detail) == ("ok", True)
    wrong = Settings(storage_url=s3.url(), **{**s3.settings(), "s3_secret_access_key": "not-the-secret"})
    found = doctor._store(wrong)
    assert found.state == "missing"
    assert "RYLA_S3_SECRET_ACCESS_KEY" in found.detail
    assert "not-the-secret" not in found.detail
    assert found.cure
