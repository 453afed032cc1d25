"""What goes wrong with answers that are kept: memory without an end, a stale body, a count that drifts."""

from resources.gpu.backends.runpod.kept import Kept, weight


def body(size: int) -> dict[str, object]:
    """An answer with so many bytes of picture."""
    return {"output": {"images": [{"data": "x" * size}]}}


def test_what_was_seen_is_kept_until_it_is_used() -> None:
    """Asked for as often as one likes, then dropped."""
    kept = Kept()
    kept.put("a", body(10))
    assert kept.get("a") == kept.get("a") == body(10)
    kept.drop("a")
    kept.drop("a")
    assert kept.get("a") is None


def test_memory_is_bounded() -> None:
    """The oldest make room; what is larger than everything is not kept at all; the count is right afterwards."""
    kept = Kept(1000)
    for name in "abc":
        kept.put(name, body(400))
    assert [kept.get(name) is not None for name in "abc"] == [False, True, True]
    kept.put("d", body(2000))
    assert kept.get("d") is None
    assert kept.get("c") is not None
    for name in "bc":
        kept.drop(name)
    assert kept._bytes == 0


def test_newer_answer_replaces_the_older() -> None:
    """And is counted once."""
    kept = Kept(1000)
    kept.put("a", body(400))
    kept.put("a", body(500))
    assert kept._bytes == weight(body(500))
    assert kept.get("a") == body(500)
