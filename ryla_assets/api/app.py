"""The HTTP app: health, thumbnails and galleries by capability URL, RunPod's webhooks.

Input is hostile: tokens are checked before anything is looked up, answers carry no path and no secret, pages run no
script. What it serves was accepted into the store; there is no way to put anything in.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from resources.storage import StorageError
from ryla_assets.api.webhooks import Webhooks, quiet_access_log
from ryla_assets.build import build_studio
from ryla_assets.domain.errors import UnknownCharacter
from ryla_assets.domain.images import ImageRecord, ImageSet
from ryla_assets.links import Links
from ryla_assets.settings import Settings
from ryla_assets.studio.studio import Studio

_YEAR = "private, max-age=31536000, immutable"  # a thumbnail is named by its content
_PAGE_POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SHOWN = ("base_images", "selected_base_image", "character_sheet", "generated_images")


def build_app(settings: Settings, *, studio: Studio | None = None) -> Starlette:
    """The ASGI app on these settings."""
    studio = studio or build_studio(settings)
    house = _Pages(studio)
    quiet_access_log()
    return Starlette(
        routes=[
            Route("/health", house.health),
            Route("/t/{token}.webp", house.thumbnail),
            Route("/g/{character}/{token}", house.gallery),
            *Webhooks(studio.runner.ledger).routes(),
        ]
    )


class _Pages:
    """The handlers, on one studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.links = Links(studio.settings.home, studio.settings.public_url)

    async def health(self, _: Request) -> Response:
        """200 while database and store answer; 503 naming what does not."""
        problems = await run_in_threadpool(self._problems)
        body = {"status": "ok" if not problems else "failing", "problems": problems}
        return JSONResponse({**body, "backend": self.studio.runner.backend.name}, status_code=503 if problems else 200)

    async def thumbnail(self, request: Request) -> Response:
        """A WebP thumbnail; 404 for a forged token and for a picture that is gone, without saying which."""
        prefix = self.links.image_prefix(request.path_params["token"])
        data = await run_in_threadpool(self._thumbnail, prefix) if prefix else None
        if data is None:
            return PlainTextResponse("not found", status_code=404)
        return Response(
            data, media_type="image/webp", headers={"Cache-Control": _YEAR, "X-Content-Type-Options": "nosniff"}
        )

    async def gallery(self, request: Request) -> Response:
        """All current pictures of a character on one page."""
        character, token = request.path_params["character"], request.path_params["token"]
        if not self.links.opens_gallery(character, token):
            return PlainTextResponse("not found", status_code=404)
        try:
            page = await run_in_threadpool(self._gallery, character)
        except UnknownCharacter:
            return PlainTextResponse("not found", status_code=404)
        headers = {
            "Content-Security-Policy": _PAGE_POLICY,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return HTMLResponse(page, headers=headers)

    def _problems(self) -> list[str]:
        looks: dict[str, Callable[[], object]] = {
            "database": lambda: self.studio.registry.events(0, ("none",), limit=1),
            "store": lambda: self.studio.store.has("manifests", "0" * 64),
        }
        problems = []
        for name, look in looks.items():
            try:
                look()
            except Exception as error:  # noqa: BLE001  whatever it says, health must answer
                problems.append(f"{name}: {type(error).__name__}")
        return problems

    def _thumbnail(self, prefix: str) -> bytes | None:
        from resources.images import ImageRejected, thumbnail

        try:
            sha256 = self.studio.store.find("images", prefix)
            return thumbnail(self.studio.store.get("images", sha256)) if sha256 else None
        except (StorageError, ImageRejected):
            return None

    def _gallery(self, character: str) -> str:
        who = self.studio.registry.character(character)
        parts = [f"<h1>{html.escape(who.config.name)} <small>{html.escape(who.id)}</small></h1>"]
        for asset in _SHOWN:
            for sha256 in reversed(self.studio.registry.manifests(asset, character)):
                try:
                    manifest = self.studio.manifest(sha256)
                    parts.append(self._section(manifest, sha256) if isinstance(manifest, ImageSet) else "")
                except StorageError:
                    parts.append(f"<h2>{html.escape(asset)}</h2><p>a manifest is lost or damaged: ryla doctor</p>")
        return _PAGE.format(title=html.escape(who.id), body="\n".join(parts))

    def _section(self, manifest: ImageSet, sha256: str) -> str:
        refused = self.studio.refusals(manifest.asset, manifest.character, sha256)
        state = "accepted" if not refused else "not accepted: " + "; ".join(f"{k}: {v}" for k, v in refused.items())
        kind = "procedural preview" if manifest.render_domain == "preview" else "made by a model"
        line = f"take {manifest.take}, {manifest.route} route, {kind}, {state}"
        figures = "".join(_figure(self.links.thumbnail(i.sha256), i) for i in manifest.images if i.stored)
        section = f"<h2>{html.escape(manifest.asset)}</h2><p>{html.escape(line)}</p><div>{figures}</div>"
        unseen = (*manifest.rejected, *(i for i in manifest.images if not i.stored))
        lost = "".join(f"<li>{html.escape(f'{i.shot}, take {i.take}: {i.refused}')}</li>" for i in unseen)
        return section + (f"<p>rejected, and not shown:</p><ul>{lost}</ul>" if lost else "")


def _figure(url: str, image: ImageRecord) -> str:
    """A picture and its shot; one that its gates refuse is no result, and says so."""
    path, name = "/" + url.split("/", 3)[3], html.escape(image.shot)
    refused = f"<br><strong>refused: {html.escape(image.refused)}</strong>" if image.refused else ""
    kind = ' class="refused"' if image.refused else ""
    shown = f'<img src="{html.escape(path)}" alt="{name}">'
    return f"<figure{kind}>{shown}<figcaption>{name}{refused}</figcaption></figure>"


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.4 system-ui,sans-serif;margin:2rem;color:#1f2328}}small{{color:#6a7178;font-weight:400}}
h2{{margin:1.6rem 0 0;font-size:1.05rem}}p{{margin:.2rem 0 .6rem;color:#6a7178}}
div{{display:flex;flex-wrap:wrap;gap:12px}}
figure{{margin:0;max-width:160px}}img{{border-radius:6px;display:block}}
.refused img{{opacity:.45;outline:2px solid #cf222e}}.refused strong{{color:#cf222e;font-weight:400}}
figcaption{{font-size:12px;color:#6a7178}}</style>{body}</html>
"""


def app() -> Any:
    """The app on the environment's settings, for an ASGI server's factory option."""
    from ryla_assets.settings import settings

    return build_app(settings())
