"""Signatures: the published vectors verify, and every single-bit change of body, signature or secret is noticed."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from headrace.gateway.sources.model import HmacAuth
from headrace.gateway.sources.verify import HmacVerifier

GITHUB = HmacAuth(scheme="hmac", header="x-hub-signature-256", prefix="sha256=")
WEBSUB = HmacAuth(scheme="hmac", header="x-hub-signature", prefix="sha256=")
CONVOY_512 = HmacAuth(scheme="hmac", header="x-convoy-signature", algorithm="sha512")

# (scheme, secret, body, header): github/docs "Validating webhook deliveries"; Atlassian "Secure admin webhooks";
# frain-dev/convoy pkg/verifier/verifier_test.go
VECTORS = [
    (
        GITHUB,
        b"It's a Secret to Everybody",
        b"Hello, World!",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    ),
    (
        WEBSUB,
        b"It's a Secret to Everybody",
        b"Hello World!",
        "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9",
    ),
    (
        GITHUB,
        b"Convoy",
        b"Test Payload Body",
        "sha256=d7a154547e7c35e31c4c820e20237650939c3d34dae136e30a7757ca61abb4cf",
    ),
    (
        CONVOY_512,
        b"Convoy",
        b"Test Payload Body",
        "83306382f5361d35351d6de45998f23b52f40bcf96befe4e92f137c0f1bf4a71"
        "19388b238d8f9d502ac77e6f1a8849a4778272667ed88d530cac8050bd1fee2d",
    ),
]


@pytest.mark.parametrize(("auth", "secret", "body", "header"), VECTORS)
def test_published_vectors_verify(auth: HmacAuth, secret: bytes, body: bytes, header: str) -> None:
    assert HmacVerifier(auth, [secret]).verify({auth.header: header}, body)
    assert HmacVerifier(auth, [b"other", secret]).verify({auth.header: header}, body)
    assert not HmacVerifier(auth, [b"other"]).verify({auth.header: header}, body)
    assert not HmacVerifier(auth, []).verify({auth.header: header}, body)


def flips(data: bytes) -> list[bytes]:
    return [bytes((*data[:i], data[i] ^ (1 << bit), *data[i + 1 :])) for i in range(len(data)) for bit in range(8)]


@pytest.mark.parametrize(("auth", "secret", "body", "header"), VECTORS)
def test_every_single_bit_counts(auth: HmacAuth, secret: bytes, body: bytes, header: str) -> None:
    verifier = HmacVerifier(auth, [secret])
    for changed in flips(body):
        assert not verifier.verify({auth.header: header}, changed)
    for changed in flips(header.encode()):
        assert not verifier.verify({auth.header: changed.decode("latin-1")}, body)
    for changed in flips(secret):
        assert not HmacVerifier(auth, [changed]).verify({auth.header: header}, body)


def test_base64_digests_have_one_spelling() -> None:
    auth = HmacAuth(scheme="hmac", header="x-shopify-hmac-sha256", encoding="base64")
    verifier = HmacVerifier(auth, [b"secret"])
    good = base64.b64encode(hmac.digest(b"secret", b"{}", hashlib.sha256)).decode()
    assert verifier.verify({auth.header: good}, b"{}")
    for changed in flips(good.encode()):
        assert not verifier.verify({auth.header: changed.decode("latin-1")}, b"{}")
    assert not verifier.verify({auth.header: good.rstrip("=")}, b"{}")
    assert not verifier.verify({auth.header: good + "\n"}, b"{}")
