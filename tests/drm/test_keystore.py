"""The key store: wrapped, bound to its title, the same when asked again, and readable by its owner alone."""

import base64
import json
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from media_workers.drm.custody import Custody, CustodySettings
from media_workers.drm.errors import KeyStoreError
from media_workers.drm.keystore import KeyStore
from media_workers.media.protection import LABELS, DrmOptions, ProtectionPlan

Opened = Callable[..., Custody]
Leaks = Callable[[Sequence[bytes], bytes], list[str]]


def values(custody: Custody, plan: ProtectionPlan, video_id: str = "vid_1") -> dict[str, bytes]:
    return dict(custody.values(video_id, plan, reader="w1", purpose="test"))


def audit_lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "audit.log").read_text().splitlines()]


def test_each_label_has_its_own_random_key(custody: Opened) -> None:
    """Sound, SD, HD and UHD have distinct ids of UUID version 4 and distinct keys of 128 bits."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), LABELS)
    kept = values(keeper, plan)

    assert [key.label for key in plan.keys] == ["AUDIO", "SD", "HD", "UHD"]
    assert all(uuid.UUID(key.key_id).version == 4 for key in plan.keys)
    assert len({key.key_id for key in plan.keys}) == len(set(kept.values())) == len(LABELS)
    assert all(len(value) == 16 for value in kept.values())
    assert {key.fairplay_uri for key in plan.keys} == {f"skd://showrunner/{key.key_id}" for key in plan.keys}


def test_dual_copies_share_no_key(custody: Opened) -> None:
    """The copies of `dual` have keys of their own, as a licence is for one scheme; cbcs has a vector."""
    plan = custody().protect("vid_1", DrmOptions(scheme="dual"), ("AUDIO", "SD"))

    assert plan.copies == ("cbcs", "cenc")
    assert len({key.key_id for key in plan.keys}) == 4
    assert all(key.fairplay_uri and key.iv for key in plan.keys_of("cbcs"))
    assert not any(key.fairplay_uri or key.iv for key in plan.keys_of("cenc"))


def test_asked_again(custody: Opened) -> None:
    """Another process that asks for the same title and version gets the same keys."""
    first = custody()
    plan = first.protect("vid_1", DrmOptions(), ("AUDIO", "SD"))

    second = custody()
    again = second.protect("vid_1", DrmOptions(), ("AUDIO", "SD"))

    assert again == plan
    assert values(second, again) == values(first, plan)


def test_a_title_that_grows(custody: Opened) -> None:
    """A later run with one more kind of track adds a key and keeps the others."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("AUDIO", "SD"))

    grown = keeper.protect("vid_1", DrmOptions(), ("AUDIO", "SD", "HD"))

    assert grown.keys[:2] == plan.keys
    assert grown.keys[2].label == "HD"


def test_many_at_once(custody: Opened) -> None:
    """Workers that ask for a new title at the same moment, on a new folder, all get one set of keys."""
    plans: list[ProtectionPlan] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        keeper = custody()
        barrier.wait(10)
        plans.append(keeper.protect("vid_1", DrmOptions(), LABELS))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(plans) == 6
    assert all(plan == plans[0] for plan in plans)
    assert len(values(custody(), plans[0])) == len(LABELS)


def test_rekey(custody: Opened) -> None:
    """New keys have new ids, and what is published keeps its old ones."""
    keeper = custody()
    old = keeper.protect("vid_1", DrmOptions(), ("SD",))
    kept = values(keeper, old)

    assert keeper.store.start_version("vid_1") == 2
    new = keeper.protect("vid_1", DrmOptions(), ("SD",))

    assert new.key_version == 2
    assert not {key.key_id for key in new.keys} & {key.key_id for key in old.keys}
    assert values(keeper, old) == kept
    assert keeper.protect("vid_1", DrmOptions(), ("SD",), key_version=1) == old


def test_rekey_of_a_clear_title(custody: Opened) -> None:
    """There is nothing to renew where there are no keys."""
    with pytest.raises(KeyStoreError, match="vid_1 has no keys"):
        custody().store.start_version("vid_1")


def test_format_is_as_documented(custody: Opened, key_root: Path) -> None:
    """A reader that knows the documented format alone gets the values: the licence endpoint is one."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("AUDIO", "SD"))

    def opened(wrapping: bytes, wrapped: str, purpose: str) -> bytes:
        sealed = base64.b64decode(wrapped)
        return AESGCM(wrapping).decrypt(sealed[:12], sealed[12:], purpose.encode())

    document = json.loads((key_root / "videos/vid_1/1.json").read_text())
    tenant = json.loads((key_root / f"tenants/{document['tenant']}.json").read_text())
    masters = dict(line.split() for line in (key_root / "master.key").read_text().splitlines())
    master = base64.b64decode(masters[str(tenant["masterVersion"])])
    data_key = opened(master, tenant["wrapped"], f"data-key:{document['tenant']}")
    read = {
        key["keyId"]: opened(data_key, key["wrapped"], f"content-key:vid_1:{key['keyId']}")
        for key in document["keys"]
    }

    assert read == values(keeper, plan)


def test_nothing_readable_lies_about(custody: Opened, key_root: Path, leaks: Leaks) -> None:
    """No value is in any file of the folder, and only the owner may read the files and enter the folder."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), LABELS)
    kept = list(values(keeper, plan).values())

    files = [path for path in key_root.rglob("*") if path.is_file()]
    assert {path: leaks(kept, path.read_bytes()) for path in files} == {path: [] for path in files}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert key_root.stat().st_mode & 0o777 == 0o700
    assert not [path for path in files if path.name.startswith(".") and path.name != ".lock"]


def test_wrapped_for_one_title(custody: Opened, key_root: Path) -> None:
    """A wrapped key moved to another title, or under another id, cannot be opened."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("SD",))
    target = key_root / "videos/vid_2"
    target.mkdir()
    moved = (key_root / "videos/vid_1/1.json").read_text().replace("vid_1", "vid_2")
    (target / "1.json").touch(mode=0o600)
    (target / "1.json").write_text(moved)

    with pytest.raises(KeyStoreError, match="cannot be unwrapped"):
        values(keeper, plan, "vid_2")


def test_master_rotation(custody: Opened, key_root: Path) -> None:
    """A new master key wraps data keys again: values and videos' documents stay, the old one is gone."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("AUDIO", "SD"))
    kept = values(keeper, plan)
    before = (key_root / "videos/vid_1/1.json").read_bytes()
    old_master = (key_root / "master.key").read_text().split()[1]

    assert keeper.store.rotate_master() == 2

    assert values(custody(), plan) == kept
    assert (key_root / "videos/vid_1/1.json").read_bytes() == before
    assert old_master not in (key_root / "master.key").read_text()
    assert json.loads((key_root / "tenants/default.json").read_text())["masterVersion"] == 2


def test_rotation_cut_off(custody: Opened, key_root: Path) -> None:
    """A rotation that died after adding its key leaves a store that works, and the next one completes it."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("SD",))
    kept = values(keeper, plan)
    with (key_root / "master.key").open("a") as file:
        file.write(f"2 {base64.b64encode(os.urandom(32)).decode()}\n")

    assert values(keeper, plan) == kept
    assert keeper.store.rotate_master() == 3
    assert values(keeper, plan) == kept
    assert len((key_root / "master.key").read_text().splitlines()) == 1


def test_reading_while_the_master_changes(custody: Opened) -> None:
    """Readers never fail while the master is changed again and again."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("SD",))
    kept = values(keeper, plan)
    done = threading.Event()

    def rotate() -> None:
        for _ in range(12):
            keeper.store.rotate_master()
        done.set()

    thread = threading.Thread(target=rotate)
    thread.start()
    seen = [values(custody(), plan)]
    while not done.is_set():
        seen.append(values(custody(), plan))
    thread.join(30)

    assert all(read == kept for read in seen)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_master_key_others_can_read(custody: Opened, key_root: Path, mode: int) -> None:
    """A master key that group or world may read is refused with what to do."""
    custody().protect("vid_1", DrmOptions(), ("SD",))
    (key_root / "master.key").chmod(mode)

    with pytest.raises(KeyStoreError, match=r"master\.key can be read or changed by others; run: chmod 600"):
        custody().protect("vid_2", DrmOptions(), ("SD",))


def test_master_key_elsewhere(custody: Opened, key_root: Path, tmp_path: Path) -> None:
    """The operator may keep the master apart from the keys; it is made there with mode 0600 on first use."""
    elsewhere = tmp_path / "vault" / "master"
    custody(master_file=elsewhere).protect("vid_1", DrmOptions(), ("SD",))

    assert elsewhere.stat().st_mode & 0o777 == 0o600
    assert not (key_root / "master.key").exists()


@pytest.mark.parametrize(
    "content", ["", "hunter2", "1 c2hvcnQ=\n", "x " + "A" * 44], ids=["empty", "word", "short", "no number"]
)
def test_broken_master_key(custody: Opened, key_root: Path, content: str) -> None:
    """What is no master key is refused in words that do not quote it."""
    key_root.mkdir(mode=0o700)
    (key_root / "master.key").touch(mode=0o600)
    (key_root / "master.key").write_text(content)

    with pytest.raises(KeyStoreError, match=r"is no master key file") as refused:
        custody().protect("vid_1", DrmOptions(), ("SD",))
    assert all(word not in str(refused.value) for word in content.split() if len(word) > 1)


def test_master_key_lost(custody: Opened, key_root: Path) -> None:
    """With another master key nothing opens, and the sentence says which files belong together."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("SD",))
    (key_root / "master.key").unlink()

    with pytest.raises(KeyStoreError, match="put back the key folder and the master key"):
        values(keeper, plan)


@pytest.mark.parametrize("name", ["keys", "vid_1/v1/keys"])
def test_never_below_the_media(tmp_path: Path, name: str) -> None:
    """Keys are refused a place in the published folder, also by a link."""
    media = tmp_path / "media"
    media.mkdir()
    link = tmp_path / "link"
    link.symlink_to(media)

    for root in (media / name, link / name):
        with pytest.raises(KeyStoreError, match="must not lie in the media folder"):
            Custody(CustodySettings(root=root, published=media))
    with pytest.raises(KeyStoreError, match="must not lie in the media folder"):
        Custody(CustodySettings(root=tmp_path / "keys", published=media, master_file=media / "m"))


def test_every_read_is_noted(custody: Opened, key_root: Path, leaks: Leaks) -> None:
    """Each read adds a line that says who, which keys and what for, without a value."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("AUDIO", "SD"))
    kept = keeper.values("vid_1", plan, reader="worker-7", purpose="packaging")
    keeper.values("vid_1", plan, reader="worker-8", purpose="checking")

    reads = [line for line in audit_lines(key_root) if line["action"] == "read"]
    assert [(line["by"], line["purpose"]) for line in reads] == [
        ("worker-7", "packaging"),
        ("worker-8", "checking"),
    ]
    assert all(line["keyIds"] == [key.key_id for key in plan.keys] and line["at"] for line in reads)
    assert leaks(list(kept.values()), (key_root / "audit.log").read_bytes()) == []


def test_no_audit_no_key(custody: Opened, key_root: Path) -> None:
    """When the audit cannot be written, no value is given."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("SD",))
    (key_root / "audit.log").unlink()
    (key_root / "audit.log").mkdir()

    with pytest.raises(KeyStoreError, match=r"audit\.log cannot be written"):
        values(keeper, plan)


def test_delete(custody: Opened, key_root: Path) -> None:
    """A deleted title's keys are gone; deleting again is fine; others stay."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("SD",))
    other = keeper.protect("vid_2", DrmOptions(), ("SD",))

    assert keeper.store.delete("vid_1")
    assert not keeper.store.delete("vid_1")

    with pytest.raises(KeyStoreError, match="vid_1 has no keys of version 1"):
        values(keeper, plan)
    assert len(values(keeper, other, "vid_2")) == 1


@pytest.mark.parametrize("name", ["", "../vid_1", "a/b", ".", "vid 1", "x" * 200])
def test_hostile_ids(name: str, custody: Opened, tmp_path: Path) -> None:
    """An id that is no plain name never becomes a path."""
    with pytest.raises(KeyStoreError, match="is no video id"):
        custody().protect(name, DrmOptions(), ("SD",))
    assert not list(tmp_path.iterdir())


def test_damaged_document(custody: Opened, key_root: Path) -> None:
    """A damaged document is named, and nothing is made up in its place."""
    keeper = custody()
    keeper.protect("vid_1", DrmOptions(), ("SD",))
    (key_root / "videos/vid_1/1.json").write_text("{")

    with pytest.raises(KeyStoreError, match=r"1\.json is damaged"):
        keeper.protect("vid_1", DrmOptions(), ("SD",))


def test_nothing_before_the_first_key(custody: Opened, key_root: Path) -> None:
    """A worker that never protects anything leaves no folder."""
    store: KeyStore = custody().store

    assert store.versions("vid_1") == ()
    assert store.current_version("vid_1") == 1
    assert not key_root.exists()
