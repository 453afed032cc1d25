"""What goes wrong with the HTTP app: a guessed token, a page that runs a script, an answer that says too much."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from resources import images
from ryla_assets.api.app import build_app
from ryla_assets.build import build_studio
from ryla_assets.domain.character import parse_character
from ryla_assets.domain.images import ImageSet
from ryla_assets.links import Links
from ryla_assets.settings import Settings
from ryla_assets.studio.studio import Studio
from tests.conftest import MARA
from tests.fakes.scripted_studio import IMAGE_PX, decree, scripted_parts, to_base

WHO = "mara-lind"
NASTY = "Mara <script>alert()</script> & Söns"
PUBLIC = "http://testserver"
Edit = Callable[[str], str]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Studio]:
    """One character with three base images and a refused sheet; her name tries to be markup."""
    home = tmp_path_factory.mktemp("api")
    shutil.copy(migrated_database, home / "ryla.db")
    made = build_studio(Settings(home=home, image_px=IMAGE_PX, public_url=PUBLIC), **scripted_parts())
    made.registry.add_character(parse_character({"id": WHO, "config": MARA | {"name": NASTY}}, source="the test"))
    made.registry.activate(WHO)
    base = to_base(made, WHO)
    sheet = base.model_copy(update={"asset": "character_sheet", "take": 1})
    decree(made, sheet, refused="identity")
    yield made
    made.registry.engine.dispose()


@pytest.fixture(scope="module")
def client(studio: Studio) -> TestClient:
    """A browser; an error of the app is an answer, as over the network."""
    return TestClient(build_app(studio.settings, studio=studio), raise_server_exceptions=False)


@pytest.fixture
def links(studio: Studio) -> Links:
    """The links as the assets write them."""
    return Links(studio.settings.home, PUBLIC)


@pytest.fixture
def thumbnail(studio: Studio, links: Links) -> str:
    """The path of one picture's thumbnail."""
    base = studio.current("base_images", WHO)
    assert isinstance(base, ImageSet)
    return links.thumbnail(base.images[0].sha256).removeprefix(PUBLIC)


@pytest.fixture
def gallery(links: Links) -> str:
    """The path of the character's page."""
    return links.gallery(WHO).removeprefix(PUBLIC)


# ---- health


def test_health_says_ok_and_where_jobs_run(client: TestClient) -> None:
    """What a load balancer asks."""
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "problems": [], "backend": "scripted"})


def test_health_fails_without_saying_where_the_database_is(
    client: TestClient, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with the kind of trouble; no address, no password, no path."""

    def broken(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("SELECT secret", {}, Exception("could not connect to db.internal as hunter2"))

    monkeypatch.setattr(studio.registry, "events", broken)
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["database: OperationalError"])
    assert "hunter2" not in answer.text


# ---- thumbnails


def test_thumbnail_is_served_by_its_capability_url(client: TestClient, thumbnail: str) -> None:
    """A small WebP that carries the mark, cached for ever since its name is its content."""
    answer = client.get(thumbnail)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["cache-control"].startswith("private")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert max(Image.open(io.BytesIO(answer.content)).size) <= 160
    assert images.read_mark(answer.content) == "algorithmicMedia"


EDITS: dict[str, Edit] = {
    "first letter": lambda t: ("A" if t[0] != "A" else "B") + t[1:],
    "last letter": lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
    "short": lambda t: t[:-4],
    "long": lambda t: t + "AAAA",
    "very long": lambda t: t * 400,
    "one letter": lambda t: t[0],
    "no token's letters": lambda t: "é" * len(t),
    "emoji": lambda t: "🙂",
    "percent": lambda t: "%00" + t,
    "half percent": lambda t: t[:-1] + "%",
    "plus": lambda t: "+" + t[1:],
    "other alphabet": lambda t: t.translate(str.maketrans("-_", "+/")) + "+/",
    "path": lambda t: "..%2f..%2fcapability.key",
    "hash": lambda t: base64.urlsafe_b64decode(t)[:12].hex(),
    "zeros": lambda t: base64.urlsafe_b64encode(bytes(24)).decode(),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_forged_token_is_not_found(client: TestClient, thumbnail: str, edit: Edit) -> None:
    """Not even that it is forged is said, and nothing breaks over it."""
    token = thumbnail.removeprefix("/t/").removesuffix(".webp")
    answer = client.get(f"/t/{edit(token)}.webp")
    assert answer.status_code == 404
    assert "image" not in answer.headers["content-type"]


def test_forged_and_lost_look_the_same(client: TestClient, links: Links, thumbnail: str) -> None:
    """Whether a picture ever existed is nobody's business."""
    lost = client.get(links.thumbnail("0" * 64))
    forged = client.get(thumbnail.replace("/t/", "/t/AAAA")[:36] + ".webp")
    assert (lost.status_code, lost.content) == (forged.status_code, forged.content) == (404, b"not found")


def test_damaged_picture_is_not_found(client: TestClient, studio: Studio, links: Links) -> None:
    """Bytes that are not what their name says are not served."""
    sha256 = studio.store.put(
        "images", images.mark(Image.new("RGB", (64, 64), "teal"), source="algorithmicMedia", tool="x")
    )
    url = links.thumbnail(sha256)
    assert client.get(url).status_code == 200
    Path(studio.store.uri("images", sha256).removeprefix("file://")).write_bytes(b"<svg onload=alert()>")
    assert client.get(url).status_code == 404


def test_stored_bytes_that_are_no_picture_are_not_found(client: TestClient, studio: Studio, links: Links) -> None:
    """A hash that is right does not make a picture of it."""
    assert client.get(links.thumbnail(studio.store.put("images", b"<html>no picture</html>"))).status_code == 404


# ---- galleries


def test_gallery_shows_every_picture_and_every_verdict(client: TestClient, studio: Studio, gallery: str) -> None:
    """What was made, by which route, accepted or why not; and that all of it is procedural."""
    page = client.get(gallery)
    assert page.status_code == 200
    base = studio.current("base_images", WHO)
    assert isinstance(base, ImageSet)
    assert page.text.count("<img ") == 3 + 1 + 1
    assert all(f">{image.shot}</figcaption>" in page.text for image in base.images)
    assert "not accepted: identity: by decree" in page.text
    assert "procedural preview" in page.text


def test_refused_picture_of_an_accepted_set_says_so(client: TestClient, studio: Studio, links: Links) -> None:
    """A set may pass with one in five refused: that one is labelled; one that could not be decoded is told."""
    who = "lucia-ferrer"
    studio.registry.add_character(parse_character({"id": who, "config": MARA}, source="the test"))
    base = to_active_base(studio, who)
    refused = base.images[0].model_copy(update={"refused": "another person: distance 0.90 <b>", "shot": "scene-02"})
    torn = refused.model_copy(update={"shot": "scene-03", "pixels_sha256": "", "sha256": "f" * 64, "refused": "torn"})
    made = base.model_copy(
        update={"asset": "generated_images", "images": (base.images[0], refused, torn), "parents": ()}
    )
    decree(studio, made)
    page = client.get(links.gallery(who).removeprefix(PUBLIC)).text
    section = page[page.index("<h2>generated_images</h2>") :]
    assert section.count("<figure>") == section.count('<figure class="refused">') == 1
    assert "scene-02<br><strong>refused: another person: distance 0.90 &lt;b&gt;</strong>" in section
    assert "<li>scene-03, take 10: torn</li>" in section


def to_active_base(studio: Studio, who: str) -> ImageSet:
    """Base image of a character that was just added."""
    studio.registry.activate(who)
    return to_base(studio, who)


def test_every_picture_of_the_gallery_opens(client: TestClient, gallery: str) -> None:
    """The page's own links are whole: same host, valid tokens."""
    import re

    found = re.findall(r'<img src="([^"]+)"', client.get(gallery).text)
    assert found
    assert all(url.startswith("/t/") for url in found)
    assert {client.get(url).status_code for url in found} == {200}


def test_gallery_escapes_what_people_wrote(client: TestClient, gallery: str) -> None:
    """A name is text, never markup."""
    page = client.get(gallery).text
    assert "<script" not in page
    assert "Mara &lt;script&gt;alert()&lt;/script&gt; &amp; Söns" in page


def test_gallery_runs_no_script_and_is_not_kept(client: TestClient, gallery: str) -> None:
    """The page's policy: own pictures and inline style only; no referrer tells the link, no cache keeps it."""
    headers = client.get(gallery).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "img-src 'self'" in policy
    assert "form-action 'none'" in policy
    assert "script-src" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("token", ["", "A" * 16, "é", "A" * 5000, "..", "%00", "=" * 16, "AAA"])
def test_wrong_gallery_token_is_not_found(client: TestClient, token: str) -> None:
    """Also the empty one."""
    assert client.get(f"/g/{WHO}/{token}").status_code == 404


def test_gallery_of_an_unknown_character_is_not_found(client: TestClient, links: Links) -> None:
    """A token that is right for a character that nobody added."""
    assert client.get(links.gallery("nobody")).status_code == 404
    assert client.get(links.gallery("../../etc/passwd")).status_code == 404


def test_one_characters_link_opens_no_other(client: TestClient, links: Links) -> None:
    """A link that was passed on shows what it was made for."""
    token = links.gallery("kofi-mensah").rsplit("/", 1)[1]
    assert client.get(f"/g/{WHO}/{token}").status_code == 404


def test_new_character_has_an_empty_page(client: TestClient, studio: Studio, links: Links) -> None:
    """Nothing was made yet: a heading, no error."""
    studio.registry.add_character(parse_character({"id": "yuki-tanaka", "config": MARA}, source="the test"))
    page = client.get(links.gallery("yuki-tanaka"))
    assert page.status_code == 200
    assert "<img" not in page.text


# ---- all of it


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(client: TestClient, thumbnail: str, gallery: str, method: str) -> None:
    """There is no way to put anything in: 405 on every route, whatever is sent."""
    for path in ("/health", thumbnail, gallery):
        assert client.request(method, path, content=b"x" * 1000).status_code == 405


@pytest.mark.parametrize("path", ["/", "/t/", "/g/", f"/g/{WHO}", "/store", "/capability.key", "/../ryla.db", "/docs"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    """No index, no folder, no documentation of itself."""
    assert client.get(path).status_code == 404


def test_no_answer_says_where_things_lie(
    client: TestClient, studio: Studio, links: Links, thumbnail: str, gallery: str
) -> None:
    """No folder, no database, no key, in any body or header."""
    secrets = [str(studio.settings.home), "/tmp", "ryla.db", "sqlite", "capability"]
    key = (studio.settings.home / "capability.key").read_bytes()
    for path in ("/health", "/nothing", thumbnail, "/t/forged.webp", gallery, f"/g/{WHO}/forged"):
        answer = client.get(path)
        said = answer.text + str(dict(answer.headers))
        assert [word for word in secrets if word in said] == [], path
        assert key.hex() not in said
        assert base64.urlsafe_b64encode(key).decode() not in said


def test_lost_manifest_is_no_stack_trace(client: TestClient, studio: Studio, links: Links) -> None:
    """A page over a damaged store says nothing of its inside."""
    who = "arjun-rao"
    studio.registry.add_character(parse_character({"id": who, "config": MARA}, source="the test"))
    studio.registry.publish(sha256="e" * 64, asset="base_images", character=who, take=1, request_id="r")
    page = client.get(links.gallery(who))
    assert page.status_code in (200, 500)
    assert "Traceback" not in page.text
    assert str(studio.settings.home) not in page.text
