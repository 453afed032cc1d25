"""What goes wrong with capability URLs: guessed, forged, carried over to something else, their key read by others."""

import base64
import hashlib
from pathlib import Path

import pytest

from ryla_assets.assets.results import PREVIEW_LIMIT, contact_sheet
from ryla_assets.links import Links

PICTURE = hashlib.sha256(b"a picture").hexdigest()


@pytest.fixture
def links(home: Path) -> Links:
    """Links of a deployment of its own."""
    return Links(home, "https://ryla.example/")


def token_of(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".webp")


def test_thumbnail_names_its_picture(links: Links) -> None:
    """A token leads back to the first 24 characters of the picture's hash, and to no other."""
    url = links.thumbnail(PICTURE)
    assert url.startswith("https://ryla.example/t/")
    assert links.image_prefix(token_of(url)) == PICTURE[:24]


def test_link_is_stable(links: Links, home: Path) -> None:
    """Dagster keeps the URL for years: another process on the same home makes the same one."""
    assert Links(home, "https://ryla.example").thumbnail(PICTURE) == links.thumbnail(PICTURE)


def test_changed_token_opens_nothing(links: Links) -> None:
    """Whichever bit is turned, in the name or in the hash, the token is forged."""
    raw = base64.urlsafe_b64decode(token_of(links.thumbnail(PICTURE)))
    for position in range(len(raw)):
        forged = bytearray(raw)
        forged[position] ^= 1
        assert links.image_prefix(base64.urlsafe_b64encode(forged).decode().rstrip("=")) is None


@pytest.mark.parametrize("token", ["", "x", "!" * 32, "ä" * 32, "A" * 32, "A" * 65, "A" * 100_000, "../../etc/passwd"])
def test_garbage_is_no_token(links: Links, token: str) -> None:
    """Whatever a stranger puts in the path is answered, not raised."""
    assert links.image_prefix(token) is None
    assert not links.opens_gallery("mara-lind", token)


def test_gallery_opens_one_character_only(links: Links) -> None:
    """A link that was shared shows the character it was shared for."""
    token = token_of(links.gallery("mara-lind"))
    assert links.opens_gallery("mara-lind", token)
    assert not links.opens_gallery("kofi-mensah", token)


def test_thumbnail_hash_does_not_open_a_gallery(home: Path, links: Links) -> None:
    """Purposes have hashes of their own, even over the same bytes."""
    assert links._mac("thumbnail", b"mara-lind") != links._mac("gallery", b"mara-lind")


def test_other_deployment_s_token_is_forged(links: Links, tmp_path: Path) -> None:
    """Each home has a key of its own."""
    other = Links(tmp_path / "other", "https://ryla.example")
    assert links.image_prefix(token_of(other.thumbnail(PICTURE))) is None


def test_deleting_the_key_invalidates_every_link(links: Links, home: Path) -> None:
    """That is what an operator does when a link leaked."""
    token = token_of(links.thumbnail(PICTURE))
    (home / "capability.key").unlink()
    assert links.image_prefix(token) is None


def test_key_is_readable_by_its_owner_only(links: Links, home: Path) -> None:
    """Who reads the key makes links to everything."""
    links.thumbnail(PICTURE)
    key = home / "capability.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32
    assert list(home.iterdir()) == [key]


def test_key_that_another_process_made_meanwhile_holds(
    links: Links, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Daemon, webserver and HTTP app may all be the first; two keys would break half of the links for ever."""

    def overtaken(count: int) -> bytes:
        (home / "capability.key").write_bytes(b"o" * count)  # another process, between our look and our link
        return b"m" * count

    monkeypatch.setattr("ryla_assets.links.secrets.token_bytes", overtaken)
    token = token_of(links.thumbnail(PICTURE))
    monkeypatch.undo()
    assert (home / "capability.key").read_bytes() == b"o" * 32
    assert Links(home, "").image_prefix(token) == PICTURE[:24]
    assert [path.name for path in home.iterdir()] == ["capability.key"]


def test_preview_opens_inline(links: Links) -> None:
    """Dagster hides longer markdown behind a click; what does not fit is counted, not dropped in silence."""
    for count in range(1, 31):
        text = contact_sheet(links, [(f"close-up-smiling-{n}", PICTURE) for n in range(count)])
        shown = text.count("![](")
        assert len(text) < PREVIEW_LIMIT
        assert shown == count or f"+{count - shown}|" in text
    assert shown >= 6, "a sheet's pictures should open inline"


def test_preview_of_nothing_is_empty(links: Links) -> None:
    """A set without pictures has no preview."""
    assert contact_sheet(links, []) == ""
