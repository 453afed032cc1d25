"""Getting a job's input files to the server: pictures by upload, LoRA files into its models folder.

Pictures are named by their content, so one that is there already is not sent again. ComfyUI has no upload for models:
a LoRA must be listed by the server, or its `models` folder must be reachable here (COMFYUI_MODELS_DIR).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from resources.gpu.backends.comfyui.client import Link
from resources.gpu.errors import BackendUnavailable, InvalidJob
from resources.gpu.job import InputFile

LISTED_WITHIN_S = 20.0  # from the copy until the server lists a LoRA: it looks at the folder's time, on NFS seconds old
LOOK_EVERY_S = 0.25


async def bring(link: Link, files: Mapping[InputFile, bytes], models_dir: Path | None) -> dict[str, str]:
    """Bring every input to the server; returns graph name -> server name of the pictures that got another one."""
    renamed = {}
    for file, data in files.items():
        if file.folder == "loras":
            await _bring_lora(link, file.name, data, models_dir)
        elif await link.size(file.name, place="input") != len(data):
            given = await link.upload(file.name, data)
            if given != file.name:
                renamed[file.name] = given
    return renamed


def missing_lora(name: str) -> str:
    """What to do about a LoRA that the server does not list."""
    return (
        f"{name} is not among the server's LoRA files. Copy it into the server's models/loras, or set "
        f"COMFYUI_MODELS_DIR to the server's models folder if it can be reached from here"
    )


async def _bring_lora(link: Link, name: str, data: bytes, models_dir: Path | None) -> None:
    if name in await link.models("loras"):
        return
    if models_dir is None:
        raise InvalidJob(f"{missing_lora(name)}.")
    if Path(name).name != name:
        raise InvalidJob(f"{name!r} is no plain file name.")
    try:
        await asyncio.to_thread(_copy, models_dir / "loras", name, data)
    except OSError as error:
        raise InvalidJob(
            f"{name} cannot be written into {models_dir / 'loras'}: {error}.", way_out="Correct COMFYUI_MODELS_DIR."
        ) from error
    give_up = time.monotonic() + LISTED_WITHIN_S
    while name not in await link.models("loras"):
        if time.monotonic() > give_up:
            raise BackendUnavailable(
                f"{name} was copied into {models_dir / 'loras'}, and the server does not list it after "
                f"{LISTED_WITHIN_S:.0f} s.",
                way_out="COMFYUI_MODELS_DIR must be the models folder of the server at COMFYUI_URL.",
            )
        await asyncio.sleep(LOOK_EVERY_S)


def _copy(folder: Path, name: str, data: bytes) -> None:
    """All at once or not at all: the server must never load half a file."""
    part = folder / f".{uuid.uuid4().hex}.part"  # an ending that the server does not list
    try:
        part.write_bytes(data)
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
