"""Signatures: the published vectors verify, and every single-bit change of body, signed header, signature or secret is noticed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace.gateway.sources.schemes import Ed25519Auth, HmacAuth
from headrace.gateway.sources.signatures import Ed25519Verifier, HmacVerifier
from headrace.gateway.sources.verify import Incoming
from headrace.messages.errors import FatalError
from tests.gateway.senders import CONFIGS, flips, reference


@dataclass(frozen=True)
class Vector:
    """What a vendor published: by ``secret``, ``headers`` are right for ``body`` at ``now``."""

    auth: HmacAuth
    secret: bytes
    body: bytes
    headers: dict[str, str]
    now: float = 0

    def incoming(self, **changed: Any) -> Incoming:
        return Incoming(**{"headers": self.headers, "body": self.body, "now": self.now} | changed)


def builtin(name: str) -> HmacAuth:
    auth = CONFIGS[name].auth[0]
    assert isinstance(auth, HmacAuth)
    return auth


def hex_of(header: str, algorithm: str = "sha256", prefix: str = "") -> HmacAuth:
    return HmacAuth.model_validate({"scheme": "hmac", "header": header, "algorithm": algorithm, "prefix": prefix})


WEBHOOK_ID, WEBHOOK_TIME = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    b"803a0bc887a14d10d2c447fce8b6703c"
)
# github/docs "Validating webhook deliveries"; Atlassian "Secure admin webhooks"; the tests of python-slack-sdk (MIT) and
# standard-webhooks (Apache-2.0); frain-dev/convoy pkg/verifier/verifier_test.go
VECTORS = {
    "github": Vector(
        builtin("github"),
        b"It's a Secret to Everybody",
        b"Hello, World!",
        {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
    ),
    **{
        name: Vector(
            builtin(name),
            b"It's a Secret to Everybody",
            b"Hello World!",
            {"x-hub-signature": "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"},
        )
        for name in ("jira", "bitbucket")
    },
    "slack": Vector(
        builtin("slack"),
        b"8f742231b10e8888abcd99yyyzzz85a5",
        SLACK_BODY,
        {
            "x-slack-request-timestamp": "1531420618",
            "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
        1531420618,
    ),
    **{
        name: Vector(
            builtin(name),
            b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            b'{"test": 2432232314}',
            {
                "webhook-id": WEBHOOK_ID,
                "webhook-timestamp": WEBHOOK_TIME,
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
            1614265330,
        )
        for name in ("standard-webhooks", "gitlab")
    },
    "convoy-sha256": Vector(
        hex_of("x-hub-signature-256", prefix="sha256="),
        b"Convoy",
        b"Test Payload Body",
        {"x-hub-signature-256": "sha256=d7a154547e7c35e31c4c820e20237650939c3d34dae136e30a7757ca61abb4cf"},
    ),
    "convoy-sha512": Vector(
        hex_of("x-convoy-signature", "sha512"),
        b"Convoy",
        b"Test Payload Body",
        {
            "x-convoy-signature": "83306382f5361d35351d6de45998f23b52f40bcf96befe4e92f137c0f1bf4a71"
            "19388b238d8f9d502ac77e6f1a8849a4778272667ed88d530cac8050bd1fee2d"
        },
    ),
}
PUBLISHED = {  # by id in shared/webhooks/signature-vectors.json
    "github-docs": "github",
    "atlassian-docs": "jira",
    "slack-docs": "slack",
    "standard-webhooks": "standard-webhooks",
    "stripe-dotnet": "stripe",
    "zendesk-thirdparty": "zendesk",
    "convoy-github": "github",
}


def scheme_of(entry: dict[str, Any]) -> HmacAuth:
    if entry["id"] in PUBLISHED:
        return builtin(PUBLISHED[entry["id"]])
    [header] = entry["headers"]
    if entry["id"] == "mux-sdk":
        return builtin("stripe").model_copy(update={"header": header.lower()})
    return hex_of(header.lower(), entry["alg"].removeprefix("hmac-"))


def published() -> list[Vector]:
    found = []
    for entry in orjson.loads(reference("signature-vectors.json").read_bytes()):
        auth = scheme_of(entry)
        headers = {name.lower(): value for name, value in entry["headers"].items()}
        now = 0 if auth.timestamp is None else _epoch(entry["timestamp"])
        if "msg_id" in entry:
            headers["webhook-id"] = entry["msg_id"]
        found.append(Vector(auth, entry["secret"].encode(), entry["body"].encode(), headers, now))
    return found


def _epoch(text: str) -> float:
    return 1616648967 if text == "2021-03-25T05:09:27Z" else int(text)


@pytest.mark.parametrize("name", VECTORS)
async def test_published_vectors_verify(name: str) -> None:
    await accepted_by_its_secret_alone(VECTORS[name])


async def test_all_that_was_published_verifies() -> None:
    vectors = published()
    assert len(vectors) >= 9
    for vector in vectors:
        await accepted_by_its_secret_alone(vector)


async def accepted_by_its_secret_alone(vector: Vector) -> None:
    for secrets, right in (
        ([vector.secret], True),
        ([b"b3RoZXI=", vector.secret], True),
        ([b"b3RoZXI="], False),
        ([], False),
    ):
        assert await HmacVerifier(vector.auth, secrets).verify(vector.incoming()) == right


@pytest.mark.parametrize("name", VECTORS)
async def test_every_single_bit_counts(name: str) -> None:
    vector = VECTORS[name]
    verifier = HmacVerifier(vector.auth, [vector.secret])
    for changed in flips(vector.body):
        assert not await verifier.verify(vector.incoming(body=changed))
    for header, value in vector.headers.items():
        for changed in flips(value.encode()):
            headers = vector.headers | {header: changed.decode("latin-1")}
            assert not await verifier.verify(vector.incoming(headers=headers)), (header, changed)
    if vector.auth.key == "text":
        for changed in flips(vector.secret):
            assert not await HmacVerifier(vector.auth, [changed]).verify(vector.incoming())


# --- layouts ------------------------------------------------------------------------------------------------------------


def digest(covered: bytes, key: bytes = b"secret") -> bytes:
    return hmac.digest(key, covered, hashlib.sha256)


async def test_base64_digests_have_one_spelling() -> None:
    verifier = HmacVerifier(builtin("shopify"), [b"secret"])
    good = base64.b64encode(digest(b"{}")).decode()

    async def right(text: str) -> bool:
        return await verifier.verify(Incoming({"x-shopify-hmac-sha256": text}, b"{}", 0))

    assert await right(good)
    for changed in flips(good.encode()):
        assert not await right(changed.decode("latin-1"))
    assert not await right(good.rstrip("="))
    assert not await right(good + "\n")


@pytest.mark.parametrize(
    ("header", "right"),
    [
        ("v1=GOOD", True),
        ("v1=OTHER,v1=GOOD", True),
        ("v1=GOOD,v1=OTHER", True),
        ("v0=OTHER,v1=GOOD", True),
        ("v1=OTHER,v1=OTHER", False),
        ("v0=GOOD", False),
        ("GOOD", False),
        ("v1=GOOD, ", True),
        (", v1=GOOD", False),
        ("", False),
        (",,", False),
        ("v1=", False),
        (",".join(["v1=OTHER"] * 8 + ["v1=GOOD"]), False),
    ],
)
async def test_several_signatures_of_pagerduty(header: str, right: bool) -> None:
    text = header.replace("GOOD", digest(b"{}").hex()).replace("OTHER", digest(b"[]").hex())
    verifier = HmacVerifier(builtin("pagerduty"), [b"secret"])
    assert await verifier.verify(Incoming({"x-pagerduty-signature": text}, b"{}", 0)) == right


@pytest.mark.parametrize(
    ("header", "now", "right"),
    [
        ("t=1000,v1=GOOD", 1000, True),
        ("t=1000,v1=OTHER,v1=GOOD,v0=OTHER", 1000, True),
        ("v1=GOOD,t=1000", 1000, True),
        ("t=1000,v1=GOOD", 1300, True),
        ("t=1000,v1=GOOD", 1301, False),
        ("t=1000,v1=GOOD", 699, False),
        ("t=1000,v0=GOOD", 1000, False),
        ("t=1000", 1000, False),
        ("v1=GOOD", 1000, False),
        ("t=,v1=GOOD", 1000, False),
        ("t,v1=GOOD", 1000, False),
        ("t=1000,t=1000,v1=GOOD", 1000, False),
        ("t= 1000,v1=GOOD", 1000, False),
        ("t=+1000,v1=GOOD", 1000, False),
        ("t=1000.0,v1=GOOD", 1000, False),
        ("t,v1=,v0=", 1000, False),
        ("t,,", 1000, False),
        ("t", 1000, False),
    ],
)
async def test_the_header_of_stripe(header: str, now: float, right: bool) -> None:
    text = header.replace("GOOD", digest(b"1000.{}").hex()).replace("OTHER", digest(b"{}").hex())
    verifier = HmacVerifier(builtin("stripe"), [b"secret"])
    assert await verifier.verify(Incoming({"stripe-signature": text}, b"{}", now)) == right


@pytest.mark.parametrize(
    "signature",
    ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=", "v1,dawfeoifkpqwoekfpqoekf", "v1,", "v2,GOOD", "", "GOOD"],
)
async def test_what_is_no_signature_of_standard_webhooks(signature: str) -> None:
    vector = VECTORS["standard-webhooks"]
    good = vector.headers["webhook-signature"].removeprefix("v1,")
    headers = vector.headers | {"webhook-signature": signature.replace("GOOD", good)}
    assert not await HmacVerifier(vector.auth, [vector.secret]).verify(vector.incoming(headers=headers))


async def test_an_id_can_not_take_over_what_follows_it() -> None:
    """`a.1000.{}` is signed as id `a` at 1000; the same bytes must not be read as id `a.1000`."""
    auth = builtin("standard-webhooks")
    signature = "v1," + base64.b64encode(digest(b"a.1000.2000.{}", base64.b64decode("c2VjcmV0"))).decode()
    verifier = HmacVerifier(auth, [b"c2VjcmV0"])
    for id_, time, body in (("a.1000", "2000", b"{}"), ("a", "1000", b"2000.{}")):
        headers = {"webhook-id": id_, "webhook-timestamp": time, "webhook-signature": signature}
        taken = await verifier.verify(Incoming(headers, body, float(time)))
        assert taken == (id_ == "a")


@pytest.mark.parametrize("secret", [b"whsec_", b"planted!", b""])
def test_a_secret_that_is_no_key_is_named_not_shown(secret: bytes) -> None:
    with pytest.raises(FatalError, match="VARIABLE") as caught:
        HmacVerifier(builtin("standard-webhooks"), [secret], "VARIABLE")
    assert "planted" not in str(caught.value)


# --- Ed25519 ------------------------------------------------------------------------------------------------------------


def ed25519() -> tuple[Ed25519Auth, Ed25519PrivateKey, bytes]:
    auth = CONFIGS["standard-webhooks"].auth[1]
    assert isinstance(auth, Ed25519Auth)
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return auth, key, b"whpk_" + base64.b64encode(public)


async def test_public_keys_verify_and_every_single_bit_counts() -> None:
    auth, key, public = ed25519()
    body = b'{"test": 2432232314}'
    signature = base64.b64encode(key.sign(f"{WEBHOOK_ID}.{WEBHOOK_TIME}.".encode() + body)).decode()
    headers = {"webhook-id": WEBHOOK_ID, "webhook-timestamp": WEBHOOK_TIME, "webhook-signature": f"v1a,{signature}"}
    verifier = Ed25519Verifier(auth, [base64.b64encode(bytes(range(32))), public])
    good = Incoming(headers, body, 1614265330)
    assert await verifier.verify(good)
    for changed in flips(body):
        assert not await verifier.verify(Incoming(headers, changed, good.now))
    for name, value in headers.items():
        for flipped in flips(value.encode()):
            bad = headers | {name: flipped.decode("latin-1")}
            assert not await verifier.verify(Incoming(bad, body, good.now)), (name, flipped)


def test_a_public_key_has_32_bytes() -> None:
    auth, _, public = ed25519()
    with pytest.raises(FatalError, match="32 bytes"):
        Ed25519Verifier(auth, [public[:-8]])
