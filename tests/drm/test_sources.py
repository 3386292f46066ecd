"""Keys of the operator's file, and the packager as a client of a Widevine key server."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from media_workers.drm.custody import Custody
from media_workers.drm.errors import DrmError, KeySourceRefusedError, KeyStoreError
from media_workers.drm.widevine import WidevineServer
from media_workers.media.protection import DrmOptions, Label, protection_args, stream_label

Opened = Callable[..., Custody]
RAW = DrmOptions(key_source="raw")
ONE = {"keyId": "0011223344556677889900AABBCCDDEE", "key": "aa" * 16, "iv": "bb" * 16}
TWO = {"keyId": "11" * 16, "key": "cc" * 16}


def private(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content)
    return path


def test_raw_keys(custody: Opened, tmp_path: Path) -> None:
    """A title takes the keys named for it, or those for all; values and vectors are the operator's."""
    file = private(
        tmp_path / "raw.json",
        json.dumps({"vid_1": {"SD": ONE, "AUDIO": TWO}, "*": {"SD": {**ONE, "keyId": "22" * 16}}}),
    )
    keeper = custody(raw_keys_file=file)

    own = keeper.protect("vid_1", RAW, ("AUDIO", "SD"))
    shared = keeper.protect("vid_2", RAW, ("SD",))

    assert [key.key_id for key in own.keys] == [TWO["keyId"], ONE["keyId"].lower()]
    assert own.keys[1].iv == ONE["iv"]
    assert own.keys[0].iv  # FairPlay needs one, so it is made where the operator names none
    assert keeper.values("vid_1", own, reader="w", purpose="test")[TWO["keyId"]] == b"\xcc" * 16
    assert shared.keys[0].key_id == "22" * 16


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "must be JSON of the form"),
        ('{"vid_1": {"SD": {"keyId": "aa", "key": "5ec7e7"}}}', "keyId must be 32 hex digits"),
        (json.dumps({"vid_1": {"SD": {**ONE, "key": "5ec7e7"}}}), "key must be 32 hex digits"),
        (json.dumps({"vid_1": {"SD": {**ONE, "secret": "5ec7e7"}}}), "must be JSON of the form"),
        (json.dumps({"vid_1": {"HD": ONE}}), "has no key SD for vid_1"),
        (json.dumps({"vid_2": {"SD": ONE}}), "has no key SD for vid_1"),
        (json.dumps({"*": {"SD": ONE, "AUDIO": ONE}}), "is named for more than one kind of track"),
    ],
)
def test_bad_raw_file(content: str, words: str, custody: Opened, tmp_path: Path) -> None:
    """What is wrong with the file is said without quoting a key."""
    keeper = custody(raw_keys_file=private(tmp_path / "raw.json", content))
    labels: tuple[Label, ...] = ("AUDIO", "SD") if "AUDIO" in content else ("SD",)

    with pytest.raises(KeySourceRefusedError, match=words) as refused:
        keeper.protect("vid_1", RAW, labels)
    assert "5ec7e7" not in str(refused.value)


def test_raw_keys_others_can_read(custody: Opened, tmp_path: Path) -> None:
    """A key file that others may read is refused."""
    file = private(tmp_path / "raw.json", json.dumps({"*": {"SD": ONE}}))
    file.chmod(0o644)

    with pytest.raises(KeyStoreError, match="chmod 600"):
        custody(raw_keys_file=file).protect("vid_1", RAW, ("SD",))


@pytest.mark.parametrize(
    ("source", "variable"),
    [
        ("raw", "SHOWRUNNER_RAW_KEYS_FILE"),
        ("speke", "SHOWRUNNER_SPEKE_URL"),
        ("widevine", "SHOWRUNNER_WIDEVINE_URL"),
    ],
)
def test_source_without_its_setting(source: str, variable: str, custody: Opened) -> None:
    """A source that the operator has not set up is refused with the setting's name."""
    with pytest.raises(KeySourceRefusedError, match=variable):
        custody(default_source=source).protect("vid_1", DrmOptions(), ("SD",))


def test_source_changed(custody: Opened, tmp_path: Path) -> None:
    """Keys of one version come from one source; a new version may take another."""
    keeper = custody(raw_keys_file=private(tmp_path / "raw.json", json.dumps({"*": {"SD": ONE}})))
    keeper.protect("vid_1", DrmOptions(), ("SD",))

    with pytest.raises(DrmError, match="keys rekey vid_1"):
        keeper.protect("vid_1", RAW, ("SD",))
    keeper.store.start_version("vid_1")
    assert keeper.protect("vid_1", RAW, ("SD",)).key_source == "raw"


def test_widevine_flags(custody: Opened, tmp_path: Path) -> None:
    """The packager is told to ask the server; address, title and signing key are in the flag file alone.

    No Widevine server can be had here: the flags are checked, not their effect.
    """
    signing_key, signing_iv = os.urandom(32).hex(), os.urandom(16).hex()
    server = WidevineServer(
        url="https://keys.example/cenc",
        signer="us",
        signing_key_file=private(tmp_path / "sign", f"{signing_key} {signing_iv}\n"),
        policy="uhd",
    )
    keeper = custody(widevine=server)
    plan = keeper.protect("vid_1", DrmOptions(key_source="widevine", scheme="cenc"), ("AUDIO", "SD"))

    assert plan.keys == ()
    assert protection_args(plan, "cenc") == [
        "--enable_widevine_encryption",
        "--protection_scheme=cenc",
        "--create_session_keys",
        "--protection_systems=Widevine,PlayReady",
        "--clear_lead=0",
    ]
    assert keeper.flagfile_text("vid_1", plan, "cenc", reader="w").splitlines() == [
        "--key_server_url=https://keys.example/cenc",
        f"--content_id={b'vid_1/1/cenc'.hex()}",
        "--signer=us",
        f"--aes_signing_key={signing_key}",
        f"--aes_signing_iv={signing_iv}",
        "--policy=uhd",
    ]


def test_label_of_uhd() -> None:
    """Widevine's servers know UHD1 and UHD2; everybody else takes our own labels."""
    assert stream_label("UHD", ["--enable_widevine_encryption"]) == "UHD1"
    assert stream_label("HD", ["--enable_widevine_encryption"]) == "HD"
    assert stream_label("UHD", ["--enable_raw_key_encryption"]) == "UHD"


def test_widevine_with_rsa(custody: Opened, tmp_path: Path) -> None:
    """An RSA signing key stays in its own file, which the packager reads."""
    pem = private(tmp_path / "sign.pem", "-----BEGIN RSA PRIVATE KEY-----\n")
    keeper = custody(widevine=WidevineServer(url="https://k.example", signer="us", signing_key_file=pem))
    plan = keeper.protect("vid_1", DrmOptions(key_source="widevine"), ("SD",))

    text = keeper.flagfile_text("vid_1", plan, "cbcs", reader="w")
    assert f"--rsa_signing_key_path={pem}\n" in text
    assert "aes" not in text


def test_widevine_signing_key_that_is_none(custody: Opened, tmp_path: Path) -> None:
    """A signing key that is neither is refused without being quoted."""
    file = private(tmp_path / "sign", "hunter2")
    keeper = custody(widevine=WidevineServer(url="https://k.example", signer="us", signing_key_file=file))

    with pytest.raises(KeySourceRefusedError, match="must hold a PEM key") as refused:
        keeper.protect("vid_1", DrmOptions(key_source="widevine"), ("SD",))
    assert "hunter2" not in str(refused.value)
