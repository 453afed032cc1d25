"""What goes wrong with somebody else's words: they repeat our secrets, whole or in part."""

import asyncio
import base64
import json

import httpx
import pytest

from resources.gpu.backends.runpod.answer import Answer, Answers
from resources.gpu.backends.runpod.failures import classify
from resources.gpu.backends.runpod.states import failed, read_status
from resources.runpod.problems import problem
from resources.runpod.redaction import READ_CHARS, redacted, shown

KEY = "rpa_SECRETSECRETSECRET0123456789"
SIGNATURE = "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592"
QUERY = f"?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F1&X-Amz-Signature={SIGNATURE}"
TOKEN = "kP3vXb2m9Qw7Lr5tZs8uYd1eGh4jNa6c"
HOOK = f"https://us.example/webhooks/runpod/0b1f6c1e-9a52-4b52-8d7e-0d4a6f0a1b2c/{TOKEN}"
SECRETS = (SIGNATURE, TOKEN, KEY, "hunter2hunter2")

LEAKS = {
    "a URL that requests names": (f"403 Client Error: Forbidden for url: https://s3.example/b/k.png{QUERY}",
                                  "for url: https://s3.example/b/k.png?[hidden]"),
    "one that urllib3 names": (f"Max retries exceeded with url: /b/k.png{QUERY} (Caused by NewConnectionError)",
                               "with url: /b/k.png?[hidden] (Caused by NewConnectionError)"),
    "a user before a host": ("cannot open s3://me:hunter2hunter2@s3.example/b/k", "cannot open s3://s3.example/b/k"),
    "JSON with slashes escaped": (f"{{\"url\": \"https:\\/\\/s3.example\\/b{QUERY}\"}}", "https://s3.example/b?[hidden]"),
    "JSON of a Go server": (f"https://s3.example/b{QUERY}".replace("&", "\\u0026"), "https://s3.example/b?[hidden]"),
    "a URL inside a URL": (f"?to=https%3A%2F%2Fs3.example%2Fb%3FX-Amz-Signature%3D{SIGNATURE}", "[hidden]"),
    "S3's own words": (f"<Error><SignatureProvided>{SIGNATURE}</SignatureProvided></Error>", "[hidden]"),
    "a webhook's address": (f"could not POST {HOOK}: 500", "-0d4a6f0a1b2c/[hidden]: 500"),
    "a header with our key": (f"headers: {{'Authorization': 'Bearer {KEY}'}}", "'Authorization': '[hidden]'"),
    "a header with the bare key": (f"Authorization: {KEY}", "Authorization: [hidden]"),
    "a token of somebody": (f"Bearer {TOKEN} was refused", "Bearer [hidden] was refused"),
    "a named value": (f"aws_secret_access_key={TOKEN} is wrong", "aws_secret_access_key=[hidden] is wrong"),
    "a key of RunPod by its looks": (f"RUNPOD_AI_API_KEY {KEY}", "RUNPOD_AI_API_KEY [hidden]"),
    "a JWT": ("apikey eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZSJ9.c2ln", "apikey [hidden]"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAKS)
def test_secret_in_a_text_is_left_out(name: str) -> None:
    """What stands around it stays."""
    text, rest = LEAKS[name]
    found = shown(text, 500)
    assert rest in found
    assert not [secret for secret in (*SECRETS, "eyJ") if secret in found]


@pytest.mark.parametrize(
    "text",
    [
        "unet_name: 'flux1-dev.safetensors' not in []", "why? because a = b", "trigger token: ohwx woman",
        "Node 4 (errors): [{'type': 'value_not_in_list'}]", "<class 'ValueError'>",
        "https://docs.example/page: read it",
        "size mismatch for token_embedding.weight: copying a param with shape", "bearer token missing",
        "input 1.png is not the file that was named (sha256 " + "a" * 64 + ")",
    ],
)  # fmt: skip
def test_harmless_text_stays_as_it_is(text: str) -> None:
    """A person needs the words to help."""
    assert shown(text, 500) == text


@pytest.mark.parametrize("before", ["", "u:", "me:"])
def test_known_key_is_left_out_in_any_clothes(before: str) -> None:
    """As it is, percent-encoded, and in base64 behind whatever stands before it there."""
    key = "k+y/with%odd=letters&more"
    for told in (key, "k%2By%2Fwith%25odd%3Dletters%26more", base64.b64encode((before + key).encode()).decode()):
        found = redacted(f"it says {told} here", key)
        assert "[key]" in found
        assert len(found) < len("it says [key] here") + 8, "at most what shares its letters with something else is left"


@pytest.mark.parametrize("size", [READ_CHARS - 60, READ_CHARS - 20, READ_CHARS - 5])
@pytest.mark.parametrize("secret", [KEY, f"https://s3.example/b{QUERY}", f"Bearer {TOKEN}"])
def test_secret_across_a_cut_is_left_out(size: int, secret: str) -> None:
    """Neither where the reading ends, nor where the showing does."""
    key = KEY if secret == KEY else ""
    for most in (480, 500, READ_CHARS):
        for text in ("x " * (size // 2) + secret + " and so on" * 1000, "y" * 470 + " " + secret):
            found = shown(text, most, key)
            assert not [part for part in (KEY[:12], SIGNATURE[:8], TOKEN[:8]) if part in found]


def test_worker_that_repeats_our_secrets_shows_none() -> None:
    """In its own words, in our contract's shape, in a traceback, in details, in a state or a name of its own."""
    leak = f"PUT https://s3.example/b{QUERY} failed; {HOOK}; Authorization: Bearer {KEY}"
    bodies = [
        {"error": leak},
        {"error": {"code": "upload", "message": leak, "retry": "transient"}},
        {"error": json.dumps({"error_type": leak, "error_message": leak, "error_traceback": f"{leak}\n" * 3})},
        {"error": "Job processing failed", "output": {"details": [leak]}},
        {"status": leak, "workerId": leak},
    ]
    for body in bodies:
        found = str(read_status({"status": "FAILED", **body}))
        assert not [secret for secret in SECRETS if secret in found]
        assert "hidden" in found
    assert SIGNATURE not in str(failed(read_status({"status": "COMPLETED"}), "wrong_output", leak, "permanent"))
    assert classify(leak).code == classify("PUT failed").code


def test_answer_shows_neither_key_nor_envelope() -> None:
    """A refusal that repeats the whole request; and a body that is read has no key in it either."""
    envelope = {"input": {"manifest_put": f"https://s3.example/r{QUERY}"}, "webhook": HOOK}
    refusal = httpx.Response(400, json={"error": f"bad request: {json.dumps(envelope)}", "auth": KEY})
    taken = httpx.Response(200, json={"id": "job-1", "status": "FAILED", "error": f"key {KEY}"})

    async def reading(response: httpx.Response) -> Answer:
        async with asyncio.timeout(5.0) as clock:
            return await Answers(KEY).read(response, "here", clock)

    def read(response: httpx.Response) -> Answer:
        return asyncio.run(reading(response))

    words = str(problem("POST /pods", 422, f'{{"detail": "env: {HOOK} {KEY}", "errors": ["x{QUERY}"]}}'.encode(), KEY))
    for found in (read(refusal).text, repr(read(refusal)), repr(read(taken)), words):
        assert not [secret for secret in SECRETS if secret in found]
    assert read(taken).body == {"id": "job-1", "status": "FAILED", "error": "key [key]"}
