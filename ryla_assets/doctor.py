"""`ryla doctor`: what is configured, what can be reached, what is missing, and the cure for each."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime

from ryla_assets.doctor_finding import Finding
from ryla_assets.doctor_runpod import looks
from ryla_assets.places import unusable
from ryla_assets.settings import Settings

RENEW_DAYS = 30  # a certificate that ends sooner is told
LOW_DISK = 2 * 1024**3  # bytes; a thousand 1024 px pictures are 1.5 GB


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; one broken part hides no other."""
    more = looks(settings) if settings.backend == "runpod" else {}
    return [_guarded(name, look, settings) for name, look in (_LOOKS | more).items()]


def _guarded(name: str, look: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return look(settings)
    except Exception as error:  # noqa: BLE001  a doctor reports what others raise
        if known := unusable(error, settings):
            return Finding(name, "missing", known.message, known.way_out)
        return Finding(
            name, "missing", f"{type(error).__name__}: {error}", "See the message; then run ryla doctor again."
        )


def _home(settings: Settings) -> Finding:
    settings.home.mkdir(parents=True, exist_ok=True)
    probe = settings.home / ".doctor"
    probe.write_bytes(b"x")
    probe.unlink()
    free = shutil.disk_usage(settings.home).free
    detail = f"{settings.home.resolve()}, {free / 1024**3:.1f} GiB free"
    return Finding(
        "RYLA_HOME", "note" if free < LOW_DISK else "ok", detail, "Free space soon." if free < LOW_DISK else ""
    )


def _database(settings: Settings) -> Finding:
    from resources.database import open_engine
    from ryla_assets.registry.migrate import HEAD, ready
    from ryla_assets.registry.registry import Registry

    engine = ready(open_engine(settings.database))
    try:
        count = len(Registry(engine).characters())
    finally:
        engine.dispose()
    return Finding("database", "ok", f"{engine.dialect.name}, schema {HEAD}, {count} characters")


def _store(settings: Settings) -> Finding:
    """Write, read, and on S3 read again as a far worker would: by a presigned URL, which not every S3 takes."""
    from resources.storage import S3Access, StorageError, open_store

    try:
        store = open_store(settings.storage, S3Access(**settings.s3))
        sha256 = store.put("manifests", b'{"doctor": "a probe of the store"}')
        store.get("manifests", sha256)
    except StorageError as error:
        return Finding("store", "missing", str(error), "Correct the setting that it names; run ryla doctor again.")
    if not hasattr(store, "sign_get"):
        return Finding("store", "ok", "writes and reads back")
    try:
        urllib.request.urlopen(store.sign_get("manifests", sha256, seconds=60), timeout=5).close()  # noqa: S310
    except (urllib.error.URLError, OSError) as error:
        detail = f"{settings.storage} writes and reads back, but refuses its own presigned URLs ({error})"
        return Finding("store", "note", detail, "RunPod's workers need them: use another S3, or worker-comfyui.")
    return Finding("store", "ok", f"{settings.storage} writes and reads back, by presigned URLs too")


def _backend(settings: Settings) -> Finding:
    if settings.backend == "comfyui":
        return _comfyui(settings)
    if settings.backend == "runpod":
        return Finding("backend", "ok", f"runpod: {settings.runpod_jobs_url} ({settings.image_px} px)")
    detail = "preview: embedded, procedural pictures, nominal prices; it never passes for a model's output"
    return Finding("backend", "note", f"{detail} ({settings.image_px} px)")


def _comfyui(settings: Settings) -> Finding:
    """The server: does it answer, which version, which of the files that our graphs name does it lack."""
    from resources.gpu.backends.comfyui.backend import ComfyUIBackend
    from resources.gpu.errors import BackendUnavailable
    from workflows.models import model_files

    try:
        server = ComfyUIBackend(settings.comfyui_url)
        version, present = server.version(), server.model_files()
    except ValueError as error:
        return Finding("backend", "missing", f"comfyui: COMFYUI_URL {error}", "Set it to the server's address.")
    except BackendUnavailable as error:
        return Finding("backend", "missing", f"comfyui: {error.message}", error.way_out)
    lacking = [m.file for m in model_files() if m.named and m.file not in present.get(m.folder, ())]
    detail = f"comfyui: {server.url} runs ComfyUI {version} ({settings.image_px} px)"
    if not lacking:
        return Finding("backend", "ok", f"{detail}, all model files there")
    cure = "Put them into its models folder; workflows/models.yaml says where they come from."
    return Finding("backend", "note", f"{detail}; model files it lacks: {', '.join(lacking)}", cure)


def _scorer(_: Settings) -> Finding:
    from resources.identity import DlibScorer

    scorer = DlibScorer()
    found = Finding("face scorer", "ok", scorer.scorer_id)
    scorer.load()
    return found


def _dagster(settings: Settings) -> Finding:
    from importlib.metadata import version

    config = settings.dagster_home / "dagster.yaml"
    detail = f"{version('dagster')}, DAGSTER_HOME {settings.dagster_home}"
    return Finding("dagster", "ok", detail if config.exists() else f"{detail} (written by demo and dev)")


def _app(settings: Settings) -> Finding:
    url = f"{settings.public_url}/health"
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  the deployment's own address
            return Finding("HTTP app", "ok", f"{url} answers {answer.status}")
    except (urllib.error.URLError, OSError):
        return Finding("HTTP app", "note", f"{url} does not answer", "Thumbnails show while `ryla dev` runs.")


def _money(settings: Settings) -> Finding:
    from resources.database import open_engine
    from resources.gpu.ledger import Ledger
    from ryla_assets.registry.migrate import ready

    engine = ready(open_engine(settings.database))
    try:
        spent = Ledger(engine).committed_usd()
    finally:
        engine.dispose()
    return Finding("budget", "ok", f"${spent:.4f} of ${settings.daily_budget_usd:.2f} spent or reserved in 24 hours")


def _credentials(settings: Settings) -> Finding:
    """Whether stored pictures are signed, and whether the certificate still can; told before anything is paid."""
    from resources.signing_key import CredentialsUnusable
    from ryla_assets.studio.inspect import signer_of

    signer = signer_of(settings)
    if signer is None:
        detail = "pictures are marked in XMP and not signed: no certificate is set"
        return Finding("content credentials", "note", detail, "docs/provenance.md says how; trials: images certificate")
    try:
        signer.ready()
    except CredentialsUnusable as error:
        return Finding("content credentials", "missing", f"{error.what}: {error.message}", error.way_out)
    left = (signer.expires - datetime.now(UTC)).days
    detail = f"pictures are signed; the certificate ends {signer.expires:%Y-%m-%d}"
    if signer.is_development:
        cure = "Before publication, set a certificate of an authority that others trust."
        return Finding("content credentials", "note", f"{detail}; it is a development certificate", cure)
    if left < RENEW_DAYS:
        return Finding("content credentials", "note", f"{detail}, in {left} days", "Renew it.")
    return Finding("content credentials", "ok", detail)


def _safety(settings: Settings) -> Finding:
    """The deny list, the classifier of ratings, and how many texts were blocked in 24 hours: counts, never a text."""
    from resources.content_guard import installed_guard
    from resources.database import open_engine
    from ryla_assets.registry.migrate import ready
    from ryla_assets.registry.registry import Registry
    from ryla_assets.studio.texts import deny_list

    denied = deny_list(settings.denied_names)
    engine = ready(open_engine(settings.database))
    try:
        registry = Registry(engine)
        counts = registry.block_counts(since=registry.clock() - 86_400)
    finally:
        engine.dispose()
    reasons: dict[str, int] = {}
    for (reason, _), count in counts.items():
        reasons[reason] = reasons.get(reason, 0) + count
    told = f"{sum(reasons.values())} texts blocked in 24 hours"
    told += f" ({', '.join(f'{n} {reason}' for reason, n in reasons.items())})" if reasons else ""
    names = len(denied.names) if denied else 0
    told += f"; {names} names of real people denied" if denied else "; no list of real people (RYLA_DENIED_NAMES)"
    if installed_guard() is None:
        return Finding("safety", "note", f"{told}; ratings are not judged", "pip install 'ryla-assets[nsfw]'")
    return Finding("safety", "ok", f"{told}; ratings are judged")


def _gates(settings: Settings) -> Finding:
    if settings.gates == "enforce":
        return Finding("gates", "ok", "enforced")
    return Finding(
        "gates", "note", "recorded only: results are marked unaccepted, nothing is refused", "Unset RYLA_GATES."
    )


_LOOKS: dict[str, Callable[[Settings], Finding]] = {
    "RYLA_HOME": _home,
    "database": _database,
    "store": _store,
    "backend": _backend,
    "face scorer": _scorer,
    "dagster": _dagster,
    "HTTP app": _app,
    "budget": _money,
    "gates": _gates,
    "safety": _safety,
    "content credentials": _credentials,
}
