"""What the pipeline and our own GPU worker say to each other: request, result, failure.

Belongs here: the messages, their limits and the keys under which a result lies in the store. Both sides read with
these parsers, which take nothing on trust; `wire.schema.json` says the same for workers that are not written in
Python, and a test holds the two together. Not here: how a message travels, and what a graph may contain.

A worker puts its files first and the result last, so a result that can be read is complete. Unknown keys are ignored:
either side may be newer. URLs are presigned, hence secrets: no error, and no repr of a message, shows one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

from workflows.errors import WireError
from workflows.wire_table import CODE, HASH, NAME, UUID, Table, matching, message, wrong

VERSION: Final = 1
MAX_REQUEST_BYTES: Final = 9_900_000  # RunPod takes 10 MB with its envelope (policy, webhook) around it
MAX_RESULT_BYTES: Final = 1_000_000  # 64 files are described in 20 kB
MAX_FILES: Final = 64  # inputs, or outputs, of one job; a character sheet has 10
MAX_FILE_BYTES: Final = 2 * 1024**3  # a rank 128 LoRA of Flux is 0.7 GB
MIN_SIDE: Final = 16  # pixels
MAX_SIDE: Final = 8192
MAX_SECONDS: Final = 7 * 24 * 3600  # RunPod's longest execution timeout
MAX_TEXT: Final = 2000  # characters of a failure's message; what is longer is cut

Kind: TypeAlias = Literal["image", "training"]
Folder: TypeAlias = Literal["input", "loras", "dataset"]
Media: TypeAlias = Literal["image", "lora"]
Engine: TypeAlias = Literal["comfyui", "ai-toolkit", "preview"]
Retry: TypeAlias = Literal["transient", "elsewhere", "permanent", "fatal"]

KINDS: Final = ("image", "training")
FOLDERS: Final = ("input", "loras", "dataset")
MEDIA: Final = ("image", "lora")
ENGINES: Final = ("comfyui", "ai-toolkit", "preview")
RETRIES: Final = ("transient", "elsewhere", "permanent", "fatal")


@dataclass(frozen=True, slots=True)
class WireInput:
    """A file that the job reads: the worker puts it at `folder`/`name` and refuses other bytes than `sha256`."""

    folder: Folder
    name: str
    sha256: str
    url: str = field(repr=False)  # presigned GET


@dataclass(frozen=True, slots=True)
class WireOutput:
    """A file that the job must make; `width` and `height` are pixels of an image, 0 for a LoRA."""

    name: str
    media: Media
    width: int
    height: int
    put_url: str = field(repr=False)  # presigned PUT


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One attempt's work: an API-format graph or a training config, what it reads, where its results go."""

    fingerprint: str
    attempt: str
    kind: Kind
    request: dict[str, Any]
    inputs: tuple[WireInput, ...]
    outputs: tuple[WireOutput, ...]
    manifest_get: str = field(repr=False)
    manifest_put: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON form: what stands under RunPod's `input`."""
        return _plain(self)


@dataclass(frozen=True, slots=True)
class WireFile:
    """A file that a worker left in the store; `bytes` is its size."""

    name: str
    media: Media
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class WireResult:
    """What an attempt made. `attempt` is whose files these are: with `reused`, an earlier one's of the same job.

    `load_s` is the time until the models were ready, `exec_s` that of the work itself, both in seconds.
    """

    fingerprint: str
    attempt: str
    engine: Engine
    files: tuple[WireFile, ...]
    load_s: float
    exec_s: float
    reused: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON form: the worker's `output`, and what it puts, last, at `manifest_put`."""
        return _plain(self)


@dataclass(frozen=True, slots=True)
class WireFailure:
    """Why there is no result, and what another attempt is worth (`resources.gpu.errors.Retry`)."""

    code: str
    message: str
    retry: Retry

    def as_dict(self) -> dict[str, Any]:
        """JSON form: what the worker returns, so that RunPod says FAILED."""
        return {"error": {"code": self.code, "message": self.message[:MAX_TEXT], "retry": self.retry}}


def parse_request(data: bytes | str | dict[str, Any]) -> WireRequest:
    """Read a request. Raises WireError naming the field, its value and the way out."""
    table = _versioned(data, MAX_REQUEST_BYTES)
    kind = cast(Kind, table.one_of("kind", KINDS))
    request = WireRequest(
        fingerprint=table.text("fingerprint", HASH),
        attempt=table.text("attempt", UUID),
        kind=kind,
        request=_work(table.table("request"), kind),
        inputs=tuple(_input(item) for item in table.tables("inputs", least=0, most=MAX_FILES)),
        outputs=tuple(_output(item) for item in table.tables("outputs", least=1, most=MAX_FILES)),
        manifest_get=table.url("manifest_get"),
        manifest_put=table.url("manifest_put"),
    )
    _all_differ("inputs", [f"{item.folder}/{item.name}" for item in request.inputs])
    _all_differ("outputs", [item.name for item in request.outputs])
    return request


def parse_result(data: bytes | str | dict[str, Any]) -> WireResult:
    """Read a result, from the job's `output` or from the store. Raises WireError as `parse_request` does."""
    table = _versioned(data, MAX_RESULT_BYTES)
    result = WireResult(
        fingerprint=table.text("fingerprint", HASH),
        attempt=table.text("attempt", UUID),
        engine=cast(Engine, table.one_of("engine", ENGINES)),
        files=tuple(_file(item) for item in table.tables("files", least=1, most=MAX_FILES)),
        load_s=table.number("load_s", MAX_SECONDS),
        exec_s=table.number("exec_s", MAX_SECONDS),
        reused=table.flag("reused"),
    )
    _all_differ("files", [file.name for file in result.files])
    return result


def parse_failure(data: bytes | str | dict[str, Any]) -> WireFailure:
    """Read a failure: the whole of it, or what stands under its `error`, which is all that RunPod shows.

    Raises WireError where a worker failed in words of its own (an exception's text, say).
    """
    table = message(data, limit=MAX_RESULT_BYTES)
    if "error" in table.values:
        table = table.table("error")
    return WireFailure(
        code=table.text("code", CODE),
        message=table.words("message")[:MAX_TEXT],
        retry=cast(Retry, table.one_of("retry", RETRIES)),
    )


def result_key(fingerprint: str) -> str:
    """Where a job's result lies in the store, under the store's prefix. Raises WireError for what is no hash."""
    return f"results/{matching('fingerprint', fingerprint, HASH)}/result.json"


def file_key(fingerprint: str, attempt: str, name: str) -> str:
    """Where one file of an attempt lies in the store, under the store's prefix. Raises WireError."""
    matching("fingerprint", fingerprint, HASH)
    return f"results/{fingerprint}/{matching('attempt', attempt, UUID)}/{matching('name', name, NAME)}"


def _versioned(data: bytes | str | dict[str, Any], limit: int) -> Table:
    table = message(data, limit=limit)
    version = table.take("ryla")
    if type(version) is not int or version != VERSION:
        raise wrong("ryla", version, f"the version of the contract that is spoken here, {VERSION}")
    return table


def _input(table: Table) -> WireInput:
    return WireInput(
        folder=cast(Folder, table.one_of("folder", FOLDERS)),
        name=table.text("name", NAME),
        sha256=table.text("sha256", HASH),
        url=table.url("url"),
    )


def _output(table: Table) -> WireOutput:
    media = cast(Media, table.one_of("media", MEDIA))
    least, most = (MIN_SIDE, MAX_SIDE) if media == "image" else (0, 0)
    return WireOutput(
        name=table.text("name", NAME),
        media=media,
        width=table.whole("width", least, most),
        height=table.whole("height", least, most),
        put_url=table.url("put_url"),
    )


def _file(table: Table) -> WireFile:
    return WireFile(
        name=table.text("name", NAME),
        media=cast(Media, table.one_of("media", MEDIA)),
        sha256=table.text("sha256", HASH),
        bytes=table.whole("bytes", 1, MAX_FILE_BYTES),
    )


def _work(request: Table, kind: Kind) -> dict[str, Any]:
    """A graph has nodes with a class and inputs; what may stand in them is `workflows.schema`'s business."""
    if not request.values:
        raise wrong("request", request.values, "a graph or a training config: it is empty")
    for node in request.values if kind == "image" else ():
        body = request.table(node)
        body.words("class_type")
        body.table("inputs")
    return request.values


def _all_differ(place: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WireError(f"{twice[0]!r} is named twice.", field=place, value=twice[0], way_out="Name each file once.")


def _plain(told: WireRequest | WireResult) -> dict[str, Any]:
    """The message as JSON has it, the version first: lists where the dataclasses keep tuples."""
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(told).items()}
    return {"ryla": VERSION, **lists}
