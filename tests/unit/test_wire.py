"""The wire contract: a hostile or outdated message is refused by field, and the schema says what the parser does."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from workflows import wire, wire_table
from workflows.errors import WireError

SCHEMA = json.loads((Path(wire.__file__).parent / "wire.schema.json").read_text())
JUDGES = {
    name: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
    for name in ("request", "result", "failure")
}
PARSERS: dict[str, Callable[[Any], Any]] = {
    "request": wire.parse_request,
    "result": wire.parse_result,
    "failure": wire.parse_failure,
}
HASH = "ab" * 32
ATTEMPT = "12345678-1234-4234-8234-123456789abc"
SECRET = "https://store.example/b/k?X-Amz-Signature=5ec2e7"
EXAMPLES: dict[str, dict[str, Any]] = {
    "request": {
        "ryla": 1,
        "fingerprint": HASH,
        "attempt": ATTEMPT,
        "kind": "image",
        "request": {"3": {"class_type": "KSampler", "inputs": {"seed": 7}}},
        "inputs": [{"folder": "input", "name": "face.png", "sha256": HASH, "url": SECRET}],
        "outputs": [{"name": "mara/sheet-front", "media": "image", "width": 768, "height": 1024, "put_url": SECRET}],
        "manifest_get": SECRET,
        "manifest_put": SECRET,
    },
    "result": {
        "ryla": 1,
        "fingerprint": HASH,
        "attempt": ATTEMPT,
        "engine": "comfyui",
        "files": [{"name": "mara/sheet-front", "media": "image", "sha256": HASH, "bytes": 1_500_000}],
        "load_s": 20.5,
        "exec_s": 9,
        "reused": False,
    },
    "failure": {"error": {"code": "out_of_memory", "message": "24 GiB are too few", "retry": "elsewhere"}},
}
TRAINING = EXAMPLES["request"] | {
    "kind": "training",
    "request": {"base_model": "flux-dev", "steps": 1500},
    "outputs": [{"name": "mara", "media": "lora", "width": 0, "height": 0, "put_url": SECRET}],
}
GONE = object()
WRONG: list[tuple[str, str, Any]] = [
    *[("request", key, GONE) for key in EXAMPLES["request"]],
    *[("result", key, GONE) for key in EXAMPLES["result"]],
    *[("request", "ryla", version) for version in (0, 2, "1", None, 1.5)],
    *[("result", "fingerprint", value) for value in ("", "AB" * 32, "ab" * 31, "zz" * 32, 5, None, [HASH])],
    *[("request", "attempt", value) for value in ("", "1", ATTEMPT.upper(), ATTEMPT + "/..", 7)],
    *[("request", "kind", value) for value in ("", "video", None, ["image"], {})],
    *[("request", "request", value) for value in ({}, [], None, "graph", {"3": 1}, {"3": {}}, {"3": {"inputs": {}}})],
    ("request", "request", {"3": {"class_type": 7, "inputs": {}}}),
    ("request", "request", {"3": {"class_type": "KSampler", "inputs": []}}),
    *[("request", "inputs", value) for value in (None, {}, "x", [1], [None], [[]])],
    *[("request", "outputs", value) for value in ([], None, {})],
    *[("request", "inputs.0.folder", value) for value in ("models", "../input", "", None, 1)],
    *[
        ("request", place, value)
        for place in ("inputs.0.name", "outputs.0.name")
        for value in ("", ".", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", "a\\b", "a b", ".hidden", "a/.b")
    ],
    *[("result", "files.0.name", value) for value in ("a\0b", "é", "a/b/c/d/e", "x" * 129, None, 3, ["a"])],
    *[
        ("request", place, value)
        for place in ("manifest_get", "manifest_put", "inputs.0.url", "outputs.0.put_url")
        for value in ("", "file:///etc/passwd", "ftp://host/x", "//host/x", "https://", "http://a b", 7, None)
    ],
    ("request", "manifest_get", "https://h/" + "x" * 8001),
    *[("request", "outputs.0.width", value) for value in (0, 15, 8193, -1, 3.5, "768", None)],
    *[("request", "outputs.0.media", value) for value in ("video", None)],
    ("request", "outputs", [EXAMPLES["request"]["outputs"][0] | {"media": "lora"}]),
    *[("result", "engine", value) for value in ("", "modal", None, 1)],
    *[("result", "files", value) for value in ([], None, {}, ["x"])],
    *[("result", "files.0.bytes", value) for value in (0, -1, 2**31 + 1, 10**400, 1.5, "9", None)],
    *[("result", "files.0.sha256", value) for value in ("", "g" * 64, HASH + "0", None)],
    *[("result", "load_s", value) for value in (-0.1, 604_801, 10**400, "1", None, [])],
    *[("result", "reused", value) for value in (0, 1, "false", None)],
    *[("failure", "error", value) for value in ("CUDA out of memory", None, [], {}, 5)],
    *[("failure", "error.code", value) for value in ("", "Out Of Memory", "x" * 65, None, 5)],
    *[("failure", "error.retry", value) for value in ("", "maybe", None, True)],
    *[("failure", "error.message", value) for value in (None, 5, {})],
]


def changed(name: str, place: str, value: Any) -> dict[str, Any]:
    """The example with one field changed, or gone."""
    told: Any = copy.deepcopy(EXAMPLES[name])
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    at = told
    for step in way:
        at = at[step]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return dict(told)


@pytest.mark.parametrize("told", [*EXAMPLES.items(), ("request", TRAINING)], ids=[*EXAMPLES, "training"])
def test_message_survives_the_wire(told: tuple[str, dict[str, Any]]) -> None:
    """Read, written, sent as JSON and read again it is the same, and the schema takes it."""
    name, example = told
    read = PARSERS[name](example)
    assert read.as_dict() == example
    assert PARSERS[name](json.dumps(read.as_dict())) == read
    assert PARSERS[name](json.dumps(read.as_dict()).encode()) == read
    JUDGES[name].validate(example)
    jsonschema.Draft202012Validator(SCHEMA).validate(example)


@pytest.mark.parametrize(("name", "place", "value"), WRONG)
def test_wrong_field_is_refused_by_name_here_and_in_the_schema(name: str, place: str, value: Any) -> None:
    """Types, ranges, hashes, names and URLs: parser and schema refuse the same, and the error says where and what."""
    told = changed(name, place, value)
    with pytest.raises(WireError) as caught:
        PARSERS[name](told)
    assert caught.value.field.replace("[", ".").replace("]", "").startswith(place)
    assert caught.value.way_out
    assert len(str(caught.value)) < 600
    assert not JUDGES[name].is_valid(told)


@pytest.mark.parametrize("name", ["request", "result", "failure"])
def test_schema_file_is_a_schema(name: str) -> None:
    """Draft 2020-12 itself says so, and the patterns and choices are those of the parser, letter for letter."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    parts = SCHEMA["$defs"]
    assert {"#/$defs/" + name} <= {entry["$ref"] for entry in SCHEMA["anyOf"]}
    assert [parts[key]["pattern"] for key in ("hash", "uuid", "name", "url")] == [
        wire_table.HASH,
        wire_table.UUID,
        wire_table.NAME,
        wire_table.URL,
    ]
    assert parts["result"]["properties"]["engine"]["enum"] == list(wire.ENGINES)
    assert parts["result"]["properties"]["ryla"] == {"const": wire.VERSION}
    assert str(wire.MAX_REQUEST_BYTES) in SCHEMA["description"]


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_unknown_keys_are_a_newer_side_s_business(name: str) -> None:
    """They are ignored at every level, so that a worker can say more before the pipeline listens."""
    told = changed(name, "later", {"x": 1})
    if name == "request":
        told["inputs"][0]["later"] = told["outputs"][0]["later"] = None
    assert PARSERS[name](told) == PARSERS[name](EXAMPLES[name])
    assert JUDGES[name].is_valid(told)


def test_version_that_is_not_spoken_says_what_to_run() -> None:
    """The first thing that is looked at, and the cure is in the text."""
    with pytest.raises(WireError, match=r"^ryla: 2 is not .* 1\. Run a worker of the same release"):
        wire.parse_result({"ryla": 2, "everything": "else is different"})


def test_too_many_files_are_refused() -> None:
    """Sixty-four are taken, sixty-five are not; parser and schema agree."""
    one = EXAMPLES["result"]["files"][0]
    for count, taken in ((wire.MAX_FILES, True), (wire.MAX_FILES + 1, False)):
        told = changed("result", "files", [one | {"name": f"shot-{n}"} for n in range(count)])
        assert JUDGES["result"].is_valid(told) is taken
        if taken:
            assert len(wire.parse_result(told).files) == count
        else:
            with pytest.raises(WireError, match="files: 65 is not a number of entries from 1 to 64"):
                wire.parse_result(told)


@pytest.mark.parametrize(("name", "place"), [("request", "inputs"), ("request", "outputs"), ("result", "files")])
def test_name_used_twice_overwrites_nothing(name: str, place: str) -> None:
    """Two files of one name would be one file: refused (JSON Schema cannot say this)."""
    told = changed(name, place, EXAMPLES[name][place] * 2)
    with pytest.raises(WireError, match=f"{place}: .* is named twice"):
        PARSERS[name](told)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"NaN", b'{"ryla": Infinity}', b"1" * 5000, "null", "[]", b'"text"'],
    ids=["empty", "cut", "no-utf8", "deep", "nan", "infinity", "long-number", "null", "list", "text"],
)
@pytest.mark.parametrize("parse", PARSERS.values(), ids=list(PARSERS))
def test_bytes_that_are_no_message_are_an_error_of_ours(parse: Callable[[Any], Any], data: bytes | str) -> None:
    """Whatever a worker left in the store: WireError, never another exception."""
    with pytest.raises(WireError, match=r"^message: "):
        parse(data)


def test_decoded_message_that_json_cannot_say_is_refused() -> None:
    """A dict from anywhere is measured as JSON: NaN, objects and endless nesting do not pass."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    for work in ({"a": float("nan")}, {"a": object()}, endless):
        with pytest.raises(WireError, match="cannot be read as JSON"):
            wire.parse_request(TRAINING | {"request": work})


def test_message_over_the_limit_is_not_even_decoded() -> None:
    """A result of two megabytes and a request of ten, as bytes or decoded, say their size."""
    padding = {"padding": "x" * wire.MAX_RESULT_BYTES}
    for told in (EXAMPLES["result"] | padding, json.dumps(EXAMPLES["result"] | padding)):
        with pytest.raises(WireError, match="at most 1000000 are taken"):
            wire.parse_result(told)
    assert wire.parse_request(EXAMPLES["request"] | padding)
    with pytest.raises(WireError, match="at most 9900000 are taken"):
        wire.parse_request(EXAMPLES["request"] | {"padding": "x" * wire.MAX_REQUEST_BYTES})


def test_presigned_urls_are_in_no_error_and_no_repr() -> None:
    """They are secrets for as long as they hold."""
    assert "5ec2e7" not in repr(wire.parse_request(EXAMPLES["request"]))
    for place in ("manifest_get", "inputs.0.url", "outputs.0.put_url"):
        with pytest.raises(WireError) as caught:
            wire.parse_request(changed("request", place, f"s3{SECRET}"))
        assert "5ec2e7" not in f"{caught.value}{caught.value.as_dict()}"


def test_newline_at_the_end_of_a_name_is_not_overlooked() -> None:
    """Python's $ stands before it; a header or a path would not."""
    for name, place, value in (("result", "fingerprint", HASH), ("request", "inputs.0.name", "face.png")):
        with pytest.raises(WireError, match="is not"):
            PARSERS[name](changed(name, place, value + "\n"))


def test_hostile_node_name_does_not_fill_the_error() -> None:
    """A graph's keys come from outside as well: cut, and without control characters."""
    with pytest.raises(WireError) as caught:
        wire.parse_request(changed("request", "request", {"\n\x1b[2J" + "x" * 10_000: 5}))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("wrap", [lambda e: {"error": e}, lambda e: e, json.dumps])
def test_failure_is_understood_as_runpod_shows_it(wrap: Callable[[Any], Any]) -> None:
    """RunPod hands on what stands under `error`, as an object or as text; a long message is cut, not refused."""
    told = EXAMPLES["failure"]["error"] | {"message": "x" * 5000}
    failure = wire.parse_failure(wrap(told))
    assert (failure.code, failure.retry, len(failure.message)) == ("out_of_memory", "elsewhere", wire.MAX_TEXT)


def test_exception_s_own_words_are_no_failure_of_the_contract() -> None:
    """What the SDK makes of a raised exception is told apart, so that the caller classifies it itself."""
    raised = json.dumps({"error_type": "<class 'RuntimeError'>", "error_message": "CUDA error", "hostname": "w"})
    with pytest.raises(WireError, match="code: is missing"):
        wire.parse_failure(raised)


def test_keys_of_a_result_stay_under_its_fingerprint() -> None:
    """A name that would lead elsewhere makes no key."""
    assert wire.result_key(HASH) == f"results/{HASH}/result.json"
    assert wire.file_key(HASH, ATTEMPT, "mara/front") == f"results/{HASH}/{ATTEMPT}/mara/front"
    for parts in ((HASH, ATTEMPT, "../../x"), (HASH, "..", "x"), ("..", ATTEMPT, "x"), (HASH, ATTEMPT, "/x")):
        with pytest.raises(WireError):
            wire.file_key(*parts)
    with pytest.raises(WireError, match="fingerprint"):
        wire.result_key("../" + HASH)
