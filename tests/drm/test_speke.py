"""The SPEKE client against a real HTTP server, which also answers badly in every way we could think of."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree

from media_workers.drm import cpix_library
from media_workers.drm.cpix_document import read_answer, request_document
from media_workers.drm.custody import Custody
from media_workers.drm.delivery import Recipient
from media_workers.drm.errors import DrmError, KeySourceRefusedError, KeySourceUnavailableError
from media_workers.drm.records import KeptKey
from media_workers.drm.speke import SpekeServer
from media_workers.media.protection import SYSTEMS, DrmOptions, Label
from media_workers.media.pssh import parse_pssh
from tests.drm.conftest import KeyServer

Opened = Callable[..., Custody]
SPEKE = DrmOptions(key_source="speke")
NAMES = {"c": "urn:dashif:org:cpix", "p": "urn:ietf:params:xml:ns:keyprov:pskc"}


def test_keys_of_a_server(custody: Opened, key_server: KeyServer) -> None:
    """Values, vectors, boxes and FairPlay addresses are the server's, under ids that we chose."""
    keeper = custody(speke=key_server.settings)

    plan = keeper.protect("vid_1", SPEKE, ("AUDIO", "SD", "HD"))

    kept = keeper.values("vid_1", plan, reader="w", purpose="test")
    assert kept == {key.key_id: key_server.key_of(key.key_id) for key in plan.keys}
    assert [key.iv for key in plan.keys] == [key_server.key_of(key.key_id)[::-1].hex() for key in plan.keys]
    assert [key.fairplay_uri for key in plan.keys] == [
        f"skd://keys.example/{key.key_id}" for key in plan.keys
    ]
    boxes = [box for text in plan.pssh["cbcs"] for box in parse_pssh(bytes.fromhex(text))]
    assert {box.system: box.key_ids for box in boxes} == dict.fromkeys(
        ("widevine", "playready"), tuple(key.key_id for key in plan.keys)
    )


def test_the_request(custody: Opened, key_server: KeyServer) -> None:
    """One request names title, keys, scheme, systems to fill and which track each key is for."""
    plan = custody(speke=key_server.settings).protect("vid_1", SPEKE, ("AUDIO", "SD"))

    [(headers, body)] = key_server.requests
    assert headers["X-Speke-Version"] == "2.0"
    assert headers["X-Speke-User-Agent"]
    assert headers["Content-Type"] == "application/xml"
    root = etree.fromstring(body)
    assert (root.get("contentId"), root.get("version")) == ("vid_1", "2.3")
    keys = root.findall("c:ContentKeyList/c:ContentKey", NAMES)
    assert [key.get("kid", "").replace("-", "") for key in keys] == [key.key_id for key in plan.keys]
    assert {key.get("commonEncryptionScheme") for key in keys} == {"cbcs"}
    assert len(root.findall("c:DRMSystemList/c:DRMSystem", NAMES)) == 6
    assert len(root.findall("c:DRMSystemList/c:DRMSystem/c:PSSH", NAMES)) == 4
    rules = root.findall("c:ContentKeyUsageRuleList/c:ContentKeyUsageRule", NAMES)
    assert [rule.get("intendedTrackType") for rule in rules] == ["AUDIO", "SD"]
    assert root.find("c:ContentKeyUsageRuleList/c:ContentKeyUsageRule/c:AudioFilter", NAMES) is not None
    assert root.findall(".//p:PlainValue", NAMES) == []
    assert cpix_library.CPIX.parse(root).validate_content() == (True, [])


def test_dual_asks_for_each_scheme(custody: Opened, key_server: KeyServer) -> None:
    """Keys of each scheme are asked for apart; FairPlay is not asked about for cenc."""
    options = DrmOptions(key_source="speke", scheme="dual")
    plan = custody(speke=key_server.settings).protect("vid_1", options, ("SD",))

    schemes = [
        key.get("commonEncryptionScheme")
        for _, body in key_server.requests
        for key in etree.fromstring(body).iter("{*}ContentKey")
    ]
    assert sorted(map(str, schemes)) == ["cbcs", "cenc"]
    assert set(plan.pssh) == {"cbcs", "cenc"}
    assert [bool(key.fairplay_uri) for key in plan.keys] == [True, False]


def test_asked_once(custody: Opened, key_server: KeyServer) -> None:
    """What the server has delivered is kept: a repeated task asks nobody."""
    first = custody(speke=key_server.settings).protect("vid_1", SPEKE, ("SD",))

    again = custody(speke=key_server.settings).protect("vid_1", SPEKE, ("SD",))

    assert again == first
    assert len(key_server.requests) == 1


def test_a_retry_asks_for_the_same_keys(custody: Opened, key_server: KeyServer) -> None:
    """After a failed attempt the same ids are asked for, so that the server's answer is the same."""
    keeper = custody(speke=key_server.settings)
    key_server.bad = "error"
    with pytest.raises(KeySourceUnavailableError):
        keeper.protect("vid_1", SPEKE, ("AUDIO", "SD"))
    key_server.bad = None

    keeper.protect("vid_1", SPEKE, ("AUDIO", "SD"))

    [(_, failed), (_, succeeded)] = key_server.requests
    assert failed == succeeded


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("missing key", "holds no key .* which was asked for"),
        ("no value", "has 0 bytes instead of 16"),
        ("short key", "has 15 bytes instead of 16"),
        ("same key", "the same key to two tracks"),
        ("wrong scheme", "answered with the scheme cens"),
        ("wrong pssh", "does not mention that key"),
        ("cut pssh", "cut off"),
        ("wrong address", r"no skd:// address"),
        ("other title", "answered for 'somebody-elses' instead of 'vid_1'"),
        ("refused", "answers 422"),
        ("redirect", "redirect, which is not followed"),
        ("no xml", "is no XML"),
        ("long", "is longer than 1048576 bytes"),
        ("entity", "is XML, but no CPIX document"),
    ],
)
def test_bad_answers(bad: str, words: str, custody: Opened, key_server: KeyServer) -> None:
    """A wrong answer is refused for good, in words that quote no key, and no value is kept."""
    keeper = custody(speke=key_server.settings)
    key_server.bad = bad

    with pytest.raises(KeySourceRefusedError, match=words) as refused:
        keeper.protect("vid_1", SPEKE, ("AUDIO", "SD"))

    assert not refused.value.retryable
    [document] = keeper.store.versions("vid_1")
    assert all(key.wrapped is None for key in document.keys)
    for key in document.keys:
        value = key_server.key_of(key.key_id)
        assert value.hex() not in str(refused.value)
        assert base64.b64encode(value[:15]).decode()[:16] not in str(refused.value)
    assert len(key_server.requests) == 1


def test_server_fault(custody: Opened, key_server: KeyServer) -> None:
    """A 500 is worth another attempt, and what it says is not passed on."""
    key_server.bad = "error"

    with pytest.raises(KeySourceUnavailableError, match="answers 500; try again later") as refused:
        custody(speke=key_server.settings).protect("vid_1", SPEKE, ("SD",))
    assert refused.value.retryable


def test_slow_server(custody: Opened, key_server: KeyServer) -> None:
    """A server that does not answer in time is given up, to be asked again."""
    key_server.bad = "slow"
    patience = SpekeServer(url=key_server.url, token=key_server.settings.token, timeout_seconds=0.2)

    with pytest.raises(KeySourceUnavailableError, match="does not answer"):
        custody(speke=patience).protect("vid_1", SPEKE, ("SD",))


def test_server_away(custody: Opened, key_server: KeyServer) -> None:
    """A server that is not there is worth another attempt."""
    url = key_server.url
    key_server.close()

    with pytest.raises(KeySourceUnavailableError, match="SHOWRUNNER_SPEKE_URL"):
        custody(speke=SpekeServer(url=url)).protect("vid_1", SPEKE, ("SD",))


def test_wrong_token(custody: Opened, key_server: KeyServer) -> None:
    """A refused token is named as the reason and never shown."""
    wrong = SpekeServer(url=key_server.url, token="not-the-token")

    with pytest.raises(KeySourceRefusedError, match="check SHOWRUNNER_SPEKE_TOKEN") as refused:
        custody(speke=wrong).protect("vid_1", SPEKE, ("SD",))
    assert "not-the-token" not in f"{refused.value} {wrong!r}"


@pytest.mark.parametrize("url", ["http://keys.example/", "ftp://127.0.0.1/", "keys.example", ""])
def test_keys_never_travel_in_clear(url: str, custody: Opened) -> None:
    """Plain HTTP is accepted for this machine alone."""
    with pytest.raises(DrmError, match="must begin with https://"):
        custody(speke=SpekeServer(url=url)).protect("vid_1", SPEKE, ("SD",))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of ours and its private key."""
    folder = tmp_path_factory.mktemp("pair")
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "showrunner")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2046, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


def encrypted(key_server: KeyServer, pair: tuple[Path, Path]) -> SpekeServer:
    return SpekeServer(
        url=key_server.url,
        token=key_server.settings.token,
        certificate_file=pair[0],
        private_key_file=pair[1],
    )


def test_encrypted_delivery(custody: Opened, key_server: KeyServer, pair: tuple[Path, Path]) -> None:
    """With a certificate of ours the server encrypts its keys, and they are the same."""
    keeper = custody(speke=encrypted(key_server, pair))

    plan = keeper.protect("vid_1", SPEKE, ("AUDIO", "SD"))

    kept = keeper.values("vid_1", plan, reader="w", purpose="test")
    assert kept == {key.key_id: key_server.key_of(key.key_id) for key in plan.keys}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("plain", "not encrypted for us"),
        ("somebody else", "encrypted for somebody else"),
        ("changed", "was changed on its way"),
        ("short key", "has 15 bytes instead of 16"),
    ],
)
def test_bad_encrypted_delivery(
    bad: str, words: str, custody: Opened, key_server: KeyServer, pair: tuple[Path, Path]
) -> None:
    """An encrypted answer that is not for us, was changed, or is not encrypted at all is refused."""
    keeper = custody(speke=encrypted(key_server, pair))
    key_server.bad = bad

    with pytest.raises(KeySourceRefusedError, match=words):
        keeper.protect("vid_1", SPEKE, ("SD",))


def test_half_a_pair(custody: Opened, key_server: KeyServer, pair: tuple[Path, Path]) -> None:
    """A certificate without its key, or with another's, is refused before anybody is asked."""
    half = SpekeServer(url=key_server.url, certificate_file=pair[0])
    swapped = SpekeServer(url=key_server.url, certificate_file=pair[1], private_key_file=pair[1])

    with pytest.raises(KeySourceRefusedError, match="go together"):
        custody(speke=half).protect("vid_1", SPEKE, ("SD",))
    with pytest.raises(KeySourceRefusedError, match="is no certificate in PEM"):
        custody(speke=swapped).protect("vid_1", SPEKE, ("SD",))
    assert key_server.requests == []


def test_torn_answers(key_server: KeyServer, pair: tuple[Path, Path]) -> None:
    """Whatever single element or attribute an answer lacks, it is taken or refused; nothing else happens."""
    labels: tuple[Label, ...] = ("AUDIO", "SD")
    keys = tuple(
        KeptKey(label=label, scheme="cbcs", key_id=f"{number:032x}") for number, label in enumerate(labels)
    )
    recipient = Recipient(*pair)
    asked = request_document("vid_1", keys, SYSTEMS, "cbcs", recipient=recipient)
    whole = key_server.filled(etree.fromstring(asked))
    assert read_answer(whole, "vid_1", keys, SYSTEMS, "cbcs", recipient=recipient).values

    refused = 0
    for torn in torn_documents(whole):
        try:
            read_answer(torn, "vid_1", keys, SYSTEMS, "cbcs", recipient=recipient)
        except KeySourceRefusedError:
            refused += 1
    assert refused > 40


def torn_documents(whole: bytes) -> Iterator[bytes]:
    for place in range(1, len(list(etree.fromstring(whole).iter()))):
        root = etree.fromstring(whole)
        element = list(root.iter())[place]
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)
        yield etree.tostring(root)
        for name in element.keys():  # noqa: SIM118 - an element iterates over its children
            root = etree.fromstring(whole)
            del list(root.iter())[place].attrib[name]
            yield etree.tostring(root)
        root = etree.fromstring(whole)
        list(root.iter())[place].text = "\u00e9 %%"
        yield etree.tostring(root)
