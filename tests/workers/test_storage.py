"""Storage: whole files or none, inside its folder, and scratch that does not outlive its worker."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_workers.storage import (
    Artefacts,
    DiskFullError,
    KeyRefusedError,
    LocalStorage,
    MissingKeyError,
    Scratch,
    StorageError,
    TreeFile,
    artefact_key,
    sha256_of,
)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LocalStorage]:
    place = LocalStorage(tmp_path / "media", writer="w1")
    yield place
    place.close()


def make(folder: Path, **files: str) -> list[TreeFile]:
    folder.mkdir(exist_ok=True)
    tree = []
    for name, text in files.items():
        path = folder / name
        path.write_text(text)
        tree.append(TreeFile(path=f"sub/{name}", source=path))
    return tree


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/./b",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\0b",
        "a/",
        "é",
        "x" * 2000,
    ],
)
def test_keys_stay_inside(storage: LocalStorage, key: str) -> None:
    """A key that is no plain relative path is refused for reading, writing and deleting alike."""
    for act in (
        lambda: storage.put_bytes(key, b""),
        lambda: storage.local_path(key),
        lambda: storage.delete(key),
        lambda: storage.list(key),
    ):
        with pytest.raises(KeyRefusedError):
            act()


def test_links_are_not_followed(storage: LocalStorage, tmp_path: Path) -> None:
    """A link inside the media folder never leads a worker to a file outside of it."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "input.bin").write_text("secret")
    (storage.root / "sources").symlink_to(secret)

    with pytest.raises(MissingKeyError):
        storage.local_path("sources/input.bin")
    with pytest.raises(StorageError):
        storage.put_bytes("sources/other.bin", b"x")
    assert sorted(path.name for path in secret.iterdir()) == ["input.bin"]


def test_write_is_whole_or_not_at_all(storage: LocalStorage, tmp_path: Path) -> None:
    """A write that fails half-way leaves the old content and nothing unfinished."""
    storage.put_bytes("a/b.txt", b"old")
    with pytest.raises(StorageError):
        storage.put_file("a/b.txt", tmp_path / "missing")

    assert storage.local_path("a/b.txt").read_bytes() == b"old"
    assert [file.key for file in storage.list("a")] == ["a/b.txt"]
    assert unfinished(storage) == []


def test_tree_appears_in_one_step(storage: LocalStorage, tmp_path: Path) -> None:
    """The first writer of a folder wins, the second is told and changes nothing."""
    assert storage.put_tree("artefacts/v/k", make(tmp_path / "one", x="1", y="2"))
    assert not storage.put_tree("artefacts/v/k", make(tmp_path / "two", x="other"))

    assert [(file.key, file.size) for file in storage.list("artefacts/v")] == [
        ("artefacts/v/k/sub/x", 1),
        ("artefacts/v/k/sub/y", 1),
    ]
    assert unfinished(storage) == []


def test_failed_tree_leaves_nothing(storage: LocalStorage, tmp_path: Path) -> None:
    """A folder of which one file cannot be read never becomes visible."""
    files = [*make(tmp_path / "one", x="1"), TreeFile(path="gone", source=tmp_path / "gone")]

    with pytest.raises(StorageError):
        storage.put_tree("published/v/1", files)

    assert list(storage.list("published/v")) == []
    assert unfinished(storage) == []


def test_replaced_tree_has_no_old_files(storage: LocalStorage, tmp_path: Path) -> None:
    """Replacing a folder leaves only the new files."""
    storage.put_tree("published/v/1", make(tmp_path / "one", x="1", y="2"))
    storage.replace_tree("published/v/1", make(tmp_path / "two", z="3"))

    assert [file.key for file in storage.list("published/v")] == ["published/v/1/sub/z"]
    assert unfinished(storage) == []


def test_delete_is_repeatable(storage: LocalStorage) -> None:
    """Deleting a folder, a file, or nothing at all succeeds."""
    storage.put_bytes("a/b/c.txt", b"x")
    storage.put_bytes("a/d.txt", b"x")
    for key in ("a/d.txt", "a/b", "a/b", "a"):
        storage.delete(key)

    assert list(storage.list("a")) == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/x", "file:///etc/passwd", "file://{root}/../x", "file://other{root}/x", "s3://b/k"],
)
def test_only_own_urls_are_keys(storage: LocalStorage, url: str) -> None:
    """A URL names a key only when it is a file below the media folder."""
    assert storage.key_of(f"file://{storage.root}/sources/v/input.bin") == "sources/v/input.bin"
    with pytest.raises(KeyRefusedError):
        storage.key_of(url.format(root=storage.root))


def test_artefact_is_found_again(storage: LocalStorage, tmp_path: Path) -> None:
    """A committed artefact is found by its key with hashes and facts; a second commit keeps the first."""
    artefacts = Artefacts(storage)
    key = artefact_key("rendition", "sha", {"b": 1, "a": 2})
    assert key == artefact_key("rendition", "sha", {"a": 2, "b": 1})
    assert artefacts.find("vid_1", key) is None
    make(tmp_path / "one", x="1")

    made, reused = artefacts.commit("vid_1", key, tmp_path / "one", kind="rendition", facts={"n": 1})
    make(tmp_path / "two", x="2")
    again, reused_again = artefacts.commit("vid_1", key, tmp_path / "two", kind="rendition", facts={"n": 2})

    assert (reused, reused_again) == (False, True)
    assert again == made == artefacts.find("vid_1", key)
    assert made.files[0].sha256 == sha256_of(storage.local_path(made.key("x")))


def test_damaged_artefact_is_not_found(storage: LocalStorage, tmp_path: Path) -> None:
    """An artefact with a missing or shortened file counts as not there, and is made again in its place."""
    artefacts = Artefacts(storage)
    make(tmp_path / "one", x="1234", y="1")
    made, _ = artefacts.commit("vid_1", "k1", tmp_path / "one", kind="stills", facts=None)
    (storage.root / made.key("x")).unlink()
    make(tmp_path / "two", x="1234", y="1")

    assert artefacts.find("vid_1", "k1") is None
    _, reused = artefacts.commit("vid_1", "k1", tmp_path / "two", kind="stills", facts=None)

    assert not reused
    assert artefacts.find("vid_1", "k1") is not None


def test_scratch_is_reserved_and_removed(tmp_path: Path) -> None:
    """A folder is there while it is used and gone afterwards, also after an exception."""
    scratch = Scratch(tmp_path, "w1")

    def work() -> None:
        with scratch.folder("t1", reserve_bytes=1) as folder:
            (folder / "x").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert [path.name for path in (tmp_path / "w1").iterdir()] == [".alive"]
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_scratch_refuses_more_than_there_is(tmp_path: Path) -> None:
    """Room that is promised to one run is not promised to another."""
    scratch = Scratch(tmp_path, "w1")
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize

    with scratch.folder("t1", reserve_bytes=free * 2 // 3), pytest.raises(DiskFullError, match="free some"):
        scratch.folder("t2", reserve_bytes=free * 2 // 3).__enter__()
    with scratch.folder("t2", reserve_bytes=free * 2 // 3):
        pass
    scratch.close()


def test_leftovers_of_a_killed_worker_are_removed(tmp_path: Path) -> None:
    """What a worker killed with SIGKILL left is dropped by the next one; a living worker's is not."""
    code = (
        "import sys; from pathlib import Path; from media_workers.storage import LocalStorage, Scratch;"
        f"s = Scratch(Path({str(tmp_path)!r}) / 'scratch', 'dead'); "
        f"m = LocalStorage(Path({str(tmp_path)!r}) / 'media', writer='dead'); "
        "c = s.folder('t1', reserve_bytes=1); f = c.__enter__(); (f / 'half.mp4').write_text('x'); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    scratch = Scratch(tmp_path / "scratch", "w1")
    storage = LocalStorage(tmp_path / "media", writer="w1")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert (scratch.remove_dead(), storage.remove_dead()) == ([], [])
        process.kill()
        process.wait(10)

    assert (scratch.remove_dead(), storage.remove_dead()) == (["dead"], ["dead"])
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["w1"]
    scratch.close()
    storage.close()


def test_concurrent_writers_of_one_folder(storage: LocalStorage, tmp_path: Path) -> None:
    """Of many writers of the same folder exactly one wins, and the folder is one writer's, whole."""
    trees = [make(tmp_path / f"n{number}", x=str(number), y=str(number)) for number in range(8)]
    wins: list[bool] = []
    threads = [
        threading.Thread(target=lambda files=files: wins.append(storage.put_tree("published/v/1", files)))
        for files in trees
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(wins) == [False] * 7 + [True]
    texts = {storage.local_path(file.key).read_text() for file in storage.list("published/v/1")}
    assert len(texts) == 1
    assert unfinished(storage) == []


def unfinished(storage: LocalStorage) -> list[str]:
    home = storage.root / ".incoming" / "w1"
    return [path.name for path in home.iterdir() if path.name != ".alive"]
