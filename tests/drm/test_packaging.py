"""Protected packages by the real packager: boxes, signalling, pictures, and no key anywhere."""

import base64
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from media_workers.drm.custody import Custody, CustodySettings
from media_workers.drm.secret_file import secret_file
from media_workers.media.protection import (
    LABELS,
    CopyScheme,
    DrmOptions,
    ProtectionPlan,
    Scheme,
    flagfile_text,
    protection_args,
    rewrite_fairplay,
)
from media_workers.media.pssh import Pssh, parse_pssh
from tests.drm.conftest import KeyServer, Packager

pytestmark = pytest.mark.media

Opened = Callable[..., Custody]
Leaks = Callable[[Sequence[bytes], bytes], list[str]]
KEYFORMATS = {
    "urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed": "widevine",
    "com.microsoft.playready": "playready",
    "com.apple.streamingkeydelivery": "fairplay",
}
SCHEME_URNS = {
    "urn:mpeg:dash:mp4protection:2011": "mp4protection",
    "urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed": "widevine",
    "urn:uuid:9a04f079-9840-4286-ab92-e65be0885f95": "playready",
}


class Made:
    """A protected package with its plan and its keys."""

    def __init__(
        self, folder: Path, plan: ProtectionPlan, copy: CopyScheme, values: dict[str, bytes]
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.copy = copy
        self.values = values
        self.key_ids: dict[str, str] = {key.label: key.key_id for key in plan.keys_of(copy)}

    def key(self, label: str) -> bytes:
        return self.values[self.key_ids[label]]

    def init(self, label: str) -> bytes:
        return (self.folder / label / "init.mp4").read_bytes()

    def playlists(self) -> dict[str, str]:
        return {str(path.relative_to(self.folder)): path.read_text() for path in self.folder.rglob("*.m3u8")}


def make(packager: Packager, custody: Custody, folder: Path, options: DrmOptions, copy: CopyScheme) -> Made:
    plan = custody.protect("vid_1", options, LABELS)
    text = custody.flagfile_text("vid_1", plan, copy, reader="w1")
    folder.mkdir(parents=True)
    with secret_file(text, folder) as flags:
        made = packager.protected(folder / "package", plan, copy, flags)
    values = dict(custody.values("vid_1", plan, reader="w1", purpose="test"))
    return Made(made, plan, copy, values)


@pytest.fixture(scope="module")
def packages(packager: Packager, tmp_path_factory: pytest.TempPathFactory) -> dict[CopyScheme, Made]:
    """The two copies of a `dual` title."""
    root = tmp_path_factory.mktemp("dual")
    keeper = Custody(CustodySettings(root=root / "keys", published=root / "media"))
    options = DrmOptions(scheme="dual")
    copies: tuple[CopyScheme, ...] = ("cbcs", "cenc")
    return {copy: make(packager, keeper, root / copy, options, copy) for copy in copies}


def boxes(data: bytes, kind: bytes) -> list[bytes]:
    """Bodies of all boxes of a kind; the four letters are looked for, as these files are small."""
    found, place = [], data.find(kind)
    while place >= 0:
        size = int.from_bytes(data[place - 4 : place], "big")
        found.append(data[place + 4 : place - 4 + size])
        place = data.find(kind, place + 4)
    return found


def psshs(init: bytes) -> list[Pssh]:
    out: list[Pssh] = []
    for body in boxes(init, b"pssh"):
        out += parse_pssh((len(body) + 8).to_bytes(4, "big") + b"pssh" + body)
    return out


def key_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("#EXT-X-KEY:", "#EXT-X-SESSION-KEY:"))]


def attribute(line: str, name: str) -> str:
    found = re.search(rf'\b{name}=("([^"]*)"|[^,]*)', line)
    assert found is not None, line
    return found.group(2) or found.group(1)


@pytest.mark.parametrize("copy", ["cbcs", "cenc"])
def test_boxes(copy: CopyScheme, packages: dict[CopyScheme, Made]) -> None:
    """Each track is marked encrypted by the scheme with its own label's key; cbcs has the planned vector."""
    made = packages[copy]
    ivs = {key.label: key.iv for key in made.plan.keys_of(copy)}
    for label in LABELS:
        init = made.init(label)
        assert boxes(init, b"enca" if label == "AUDIO" else b"encv")
        assert boxes(init, b"frma") == [b"mp4a" if label == "AUDIO" else b"avc1"]
        [scheme] = boxes(init, b"schm")
        assert scheme[4:8] == copy.encode()
        [encryption] = boxes(init, b"tenc")
        version, pattern, protected, iv_size = encryption[0], encryption[5], encryption[6], encryption[7]
        assert protected == 1
        assert encryption[8:24].hex() == made.key_ids[label]
        if copy == "cbcs":
            assert (version, iv_size) == (1, 0)
            assert pattern == (0x00 if label == "AUDIO" else 0x19)
            assert encryption[25:41].hex() == ivs[label]
        else:
            assert (version, iv_size) == (0, 8)


@pytest.mark.parametrize("copy", ["cbcs", "cenc"])
def test_pssh_systems(copy: CopyScheme, packages: dict[CopyScheme, Made]) -> None:
    """Widevine and PlayReady are told of every key in every track; no common box, none for FairPlay."""
    made = packages[copy]
    for label in LABELS:
        found = psshs(made.init(label))
        assert sorted(box.system for box in found) == ["playready", "widevine"]
        assert all(set(box.key_ids) >= {made.key_ids[label]} for box in found)


@pytest.mark.parametrize("copy", ["cbcs", "cenc"])
def test_every_segment_is_encrypted(copy: CopyScheme, packages: dict[CopyScheme, Made]) -> None:
    """Without a clear lead, every segment says how its samples are encrypted."""
    segments = sorted(packages[copy].folder.rglob("*.m4s"))

    assert len(segments) >= 12
    assert all(boxes(path.read_bytes(), b"senc") for path in segments)


def test_clear_lead(packager: Packager, custody: Opened, tmp_path: Path) -> None:
    """A clear lead is exactly what was asked for, in whole segments."""
    made = make(packager, custody(), tmp_path / "p", DrmOptions(clear_lead_seconds=1), "cbcs")
    marked = [bool(boxes(path.read_bytes(), b"senc")) for path in sorted((made.folder / "SD").glob("*.m4s"))]

    assert marked == [False, True, True]


@pytest.mark.parametrize(
    ("copy", "systems", "method"),
    [
        ("cbcs", {"widevine", "playready", "fairplay"}, "SAMPLE-AES"),
        ("cenc", {"widevine", "playready"}, "SAMPLE-AES-CTR"),
    ],
)
def test_hls_signalling(
    copy: CopyScheme, systems: set[str], method: str, packages: dict[CopyScheme, Made]
) -> None:
    """Each playlist, I-frames too, names its own key to each system once; the master names all keys."""
    made = packages[copy]
    for label in LABELS:
        for name in ("playlist", "iframes"):
            if label == "AUDIO" and name == "iframes":
                continue
            lines = key_lines(made.playlists()[f"{label}/{name}.m3u8"])
            assert sorted(KEYFORMATS[attribute(line, "KEYFORMAT")] for line in lines) == sorted(systems)
            assert {attribute(line, "METHOD") for line in lines} == {method}
            widevine = next(line for line in lines if "edef8ba9" in line)
            assert attribute(widevine, "KEYID") == f"0x{made.key_ids[label]}"
    session = key_lines(made.playlists()["master.m3u8"])
    assert len(session) == len(LABELS) * len(systems)


def test_fairplay_address_of_each_key(packages: dict[CopyScheme, Made]) -> None:
    """After the rewrite each FairPlay line has the address of its own key, and no other line has changed."""
    made = packages["cbcs"]
    uris: dict[str, str | None] = {key.label: key.fairplay_uri for key in made.plan.keys_of("cbcs")}
    for path, text in made.playlists().items():
        rewritten = rewrite_fairplay(text, made.plan)
        before, after = text.splitlines(), rewritten.splitlines()
        changed = [new for old, new in zip(before, after, strict=True) if old != new]
        assert all("com.apple.streamingkeydelivery" in line for line in changed)
        named = {attribute(line, "URI") for line in changed}
        expected = set(uris.values()) if path == "master.m3u8" else {uris[path.partition("/")[0]]}
        assert named == expected
        assert rewrite_fairplay(rewritten, made.plan) == rewritten
        assert text.endswith("\n") == rewritten.endswith("\n")


def test_foreign_fairplay_line(packages: dict[CopyScheme, Made]) -> None:
    """A FairPlay line for a key that is not in the plan is an error: a player could never get that key."""
    made = packages["cbcs"]
    foreign = base64.b64encode(os.urandom(16)).decode()
    line = f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://{foreign}",KEYFORMAT="com.apple.streamingkeydelivery"\n'

    with pytest.raises(ValueError, match="names no key of the plan"):
        rewrite_fairplay(line, made.plan)


@pytest.mark.parametrize("copy", ["cbcs", "cenc"])
def test_dash_signalling(copy: CopyScheme, packages: dict[CopyScheme, Made]) -> None:
    """Each AdaptationSet has one key, named with its scheme, and is signalled for Widevine and PlayReady."""
    made = packages[copy]
    root = etree.parse(str(made.folder / "manifest.mpd")).getroot()
    seen = []
    for adaptation in root.iter("{*}AdaptationSet"):
        protections = adaptation.findall("{*}ContentProtection")
        kinds = {SCHEME_URNS[item.get("schemeIdUri", "")]: item for item in protections}
        assert set(kinds) == {"mp4protection", "widevine", "playready"}
        assert kinds["mp4protection"].get("value") == copy
        key_id = str(kinds["mp4protection"].get("{urn:mpeg:cenc:2013}default_KID")).replace("-", "")
        seen.append(key_id)
        for system in ("widevine", "playready"):
            [box] = parse_pssh(base64.b64decode(kinds[system].findtext("{*}pssh") or ""))
            assert box.system == system
            assert key_id in box.key_ids
    assert sorted(seen) == sorted(made.key_ids.values())


@pytest.mark.parametrize("copy", ["cbcs", "cenc"])
def test_decrypted_pictures_and_sound(
    copy: CopyScheme, packages: dict[CopyScheme, Made], packager: Packager, clear: Path
) -> None:
    """With its key each stream decodes to exactly the clear one; with another or none it does not."""
    made = packages[copy]
    for label in LABELS:
        plain = packager.pictures(clear, label)
        assert plain.startswith("MD5=")
        assert packager.pictures(made.folder, label, made.key(label)) == plain
    assert packager.pictures(made.folder, "SD", made.key("HD")) != packager.pictures(clear, "SD")
    assert packager.pictures(made.folder, "SD") != packager.pictures(clear, "SD")


@pytest.mark.parametrize("copy", ["cbcs", "cenc"])
def test_no_key_in_the_package(copy: CopyScheme, packages: dict[CopyScheme, Made], leaks: Leaks) -> None:
    """No key of the title is in any published file, as bytes, hex or base64; nor is there a stray file."""
    made = packages[copy]
    found = {
        path.name: leaks(list(made.values.values()), path.read_bytes())
        for path in made.folder.rglob("*")
        if path.is_file()
    }

    assert {name: leaked for name, leaked in found.items() if leaked} == {}
    assert {Path(name).suffix for name in found} == {".mp4", ".m4s", ".m3u8", ".mpd"}
    assert [path.name for path in made.folder.parent.iterdir()] == ["package"]


def test_same_plan_same_segments(packager: Packager, custody: Opened, tmp_path: Path) -> None:
    """A repeated cbcs run makes the same segments, as keys and vectors are kept."""
    keeper = custody()
    first, second = (
        make(packager, keeper, tmp_path / name, DrmOptions(), "cbcs").folder for name in ("a", "b")
    )
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*.m4s"))

    assert [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()] == []


def test_rekey_without_encoding(packager: Packager, custody: Opened, clear: Path, tmp_path: Path) -> None:
    """New keys need only the packager: other ids everywhere, the same pictures, old keys are useless."""
    keeper = custody()
    old = make(packager, keeper, tmp_path / "old", DrmOptions(), "cbcs")
    keeper.store.start_version("vid_1")
    new = make(packager, keeper, tmp_path / "new", DrmOptions(), "cbcs")

    assert not set(old.key_ids.values()) & set(new.key_ids.values())
    assert packager.pictures(new.folder, "HD", new.key("HD")) == packager.pictures(clear, "HD")
    assert packager.pictures(new.folder, "HD", old.key("HD")) != packager.pictures(clear, "HD")


def test_speke_boxes_reach_the_package(
    packager: Packager, custody: Opened, clear: Path, key_server: KeyServer, tmp_path: Path
) -> None:
    """A key server's boxes and FairPlay addresses are what players find, and its keys open the streams."""
    keeper = custody(speke=key_server.settings)
    made = make(packager, keeper, tmp_path / "p", DrmOptions(key_source="speke"), "cbcs")

    for label in LABELS:
        found = psshs(made.init(label))
        assert sorted(box.system for box in found) == ["playready", "widevine"]
        assert {box.key_ids for box in found} == {tuple(made.key_ids.values())}
        playlist = rewrite_fairplay(made.playlists()[f"{label}/playlist.m3u8"], made.plan)
        lines = key_lines(playlist)
        assert len(lines) == 3
        assert f'URI="skd://keys.example/{made.key_ids[label]}"' in playlist
        playready = next(line for line in lines if "com.microsoft.playready" in line)
        header = base64.b64decode(attribute(playready, "URI").partition("base64,")[2]).decode("utf-16-le")
        assert header.count("<KID ") == len(LABELS)
        assert packager.pictures(made.folder, label, made.key(label)) == packager.pictures(clear, label)


def test_no_key_in_any_argument_list(
    packager: Packager, custody: Opened, leaks: Leaks, tmp_path: Path
) -> None:
    """While the packager runs, no process of this machine shows a key in its arguments or environment."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), LABELS)
    kept = list(keeper.values("vid_1", plan, reader="w1", purpose="test").values())
    seen: list[bytes] = []
    with secret_file(keeper.flagfile_text("vid_1", plan, "cbcs", reader="w1"), tmp_path) as flags:
        argv = packager.argv([*protection_args(plan, "cbcs"), f"--flagfile={flags}"])
        with subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE) as process:
            # Held still, so that it is there for as long as looking takes.
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            for name in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{name}"):
                    with contextlib.suppress(OSError):
                        seen.append(path.read_bytes())
            process.send_signal(signal.SIGCONT)
            _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert any(b"--flagfile=" in content for content in seen)
    assert [leaked for content in seen for leaked in leaks(kept, content)] == []
    assert leaks(kept, errors) == []


def test_secret_file_has_no_place_on_a_disk(tmp_path: Path) -> None:
    """The packager's flags are readable while lent, by other processes of this user, and in no folder."""
    with secret_file("--keys=x\n", tmp_path) as path:
        read = subprocess.run(["/bin/cat", path], capture_output=True, check=True, timeout=20).stdout
        assert read == b"--keys=x\n"
        assert list(tmp_path.iterdir()) == []

    assert not Path(path).exists()


def test_secret_file_of_a_killed_process(tmp_path: Path) -> None:
    """A worker that is killed leaves nothing of what it had lent."""
    program = (
        "import pathlib, sys\n"
        "from media_workers.drm.secret_file import secret_file\n"
        "with secret_file('--keys=x', pathlib.Path(sys.argv[1])) as path:\n"
        "    print(path, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().decode().strip())
        assert path.read_text() == "--keys=x"
        process.kill()
        process.wait(30)

    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_secret_file_without_memory_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without memory files it is a file of mode 0600 in the scratch folder, gone afterwards."""
    monkeypatch.delattr(os, "memfd_create", raising=False)

    with secret_file("--keys=x\n", tmp_path) as path:
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert Path(path).read_text() == "--keys=x\n"
    assert list(tmp_path.iterdir()) == []


def test_secret_file_of_a_worker_that_is_not_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tools run in another user space and may not look into the worker: they get a file they can read."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with secret_file("--keys=x\n", tmp_path) as path:
        assert Path(path).parent == tmp_path
        assert Path(path).stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["cbcs", "cenc", "dual"])
def test_arguments_hold_no_key(scheme: Scheme, custody: Opened, leaks: Leaks) -> None:
    """What becomes a recipe and a provenance has no key and no address for all keys."""
    systems: Any = ("widevine", "playready") if scheme == "cenc" else ("widevine", "playready", "fairplay")
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(scheme=scheme, systems=systems), LABELS)
    kept = keeper.values("vid_1", plan, reader="w1", purpose="test")
    for copy in plan.copies:
        arguments = protection_args(plan, copy)
        assert leaks(list(kept.values()), " ".join(arguments).encode()) == []
        assert not [word for word in arguments if "hls_key_uri" in word or "CommonSystem" in word]
        assert f"--clear_lead={plan.clear_lead_seconds}" in arguments
        text = flagfile_text(plan, copy, kept)
        assert all(kept[key.key_id].hex() in text for key in plan.keys_of(copy))


def test_flags_need_every_key(custody: Opened) -> None:
    """A key without a value stops the packaging; nothing is packaged half in the clear."""
    plan = custody().protect("vid_1", DrmOptions(), ("SD",))

    with pytest.raises(ValueError, match=r"\(SD\) has no value of 16 bytes"):
        flagfile_text(plan, "cbcs", {})
