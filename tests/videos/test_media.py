"""Published files over HTTP."""

from __future__ import annotations

import http.client

import pytest

from tests.videos.conftest import PUBLISHED, RunningServer, publish

SEGMENT = "/media/vid_p/v1/v/360p/1.m4s"


@pytest.fixture(scope="module", autouse=True)
def published(shared: RunningServer) -> None:
    folder = shared.media / "published" / "vid_p" / "v1"
    publish(folder)
    (folder / ".hidden.mp4").write_bytes(b"x")
    (folder / "link.mp4").symlink_to(shared.settings.data / "showrunner.db")
    (folder.parent / ".v2.tmp").mkdir()
    (folder.parent / ".v2.tmp" / "master.m3u8").write_bytes(b"x")
    (shared.media / "published" / "secret.txt").write_bytes(b"x")


@pytest.mark.parametrize(
    ("path", "kind", "cache"),
    [
        ("master.m3u8", "application/vnd.apple.mpegurl", "max-age=60"),
        ("manifest.mpd", "application/dash+xml", "max-age=60"),
        ("v/360p/1.m4s", "video/iso.segment", "immutable"),
        ("v/360p/init.mp4", "video/mp4", "immutable"),
        ("poster.jpg", "image/jpeg", "immutable"),
        ("storyboard.vtt", "text/vtt; charset=utf-8", "immutable"),
    ],
)
def test_types_and_caching(shared: RunningServer, path: str, kind: str, cache: str) -> None:
    """Players get the right type; manifests may change, everything else never does; any site may read."""
    answer = shared.http.get(f"/media/vid_p/v1/{path}")

    assert answer.content == PUBLISHED[path]
    assert answer.headers["content-type"] == kind
    assert cache in answer.headers["cache-control"]
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("asked", "start", "end"), [("bytes=0-9", 0, 9), ("bytes=990-", 990, 999), ("bytes=-5", 995, 999)]
)
def test_ranges(shared: RunningServer, asked: str, start: int, end: int) -> None:
    """206 with exactly the bytes asked for."""
    answer = shared.http.get(SEGMENT, headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end}/1000"
    assert answer.content == PUBLISHED["v/360p/1.m4s"][start : end + 1]


def test_a_range_beyond_the_end_is_416(shared: RunningServer) -> None:
    """The answer says how long the file is."""
    answer = shared.http.get(SEGMENT, headers={"Range": "bytes=2000-"})

    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */1000")


def test_head_and_validators(shared: RunningServer) -> None:
    """HEAD has no body; an unchanged file is 304 by ETag and by date; a stale If-Range gets it all."""
    head = shared.http.head(SEGMENT)
    etag = head.headers["etag"]

    assert (head.status_code, head.headers["content-length"], head.content) == (200, "1000", b"")
    assert head.headers["accept-ranges"] == "bytes"
    assert shared.http.get(SEGMENT, headers={"If-None-Match": f'"x", W/{etag}'}).status_code == 304
    modified = {"If-Modified-Since": head.headers["last-modified"]}
    assert shared.http.get(SEGMENT, headers=modified).status_code == 304
    assert shared.http.get(SEGMENT, headers={"If-None-Match": '"x"'}).status_code == 200
    stale = {"Range": "bytes=0-1", "If-Range": '"x"'}
    assert shared.http.get(SEGMENT, headers=stale).status_code == 200
    assert shared.http.get(SEGMENT, headers={**stale, "If-Range": etag}).status_code == 206


def test_preflight(shared: RunningServer) -> None:
    """A player on another site may ask for ranges."""
    answer = shared.http.options(SEGMENT)

    assert answer.status_code == 204
    assert "Range" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "path",
    [
        "/media/vid_p/v1/../../../showrunner.db",
        "/media/vid_p/v1/%2e%2e/%2e%2e/secret.txt",
        "/media/vid_p/v1/..%2f..%2fsecret.txt",
        "/media/vid_p/v1/..%5c..%5csecret.txt",
        "/media/vid_p/%2e%2e/secret.txt",
        "/media/%2e%2e/vid_p/v1/master.m3u8",
        "/media/vid_p/v1//etc/passwd",
        "/media/vid_p/v1/%00master.m3u8",
        "/media/vid_p/v1/.hidden.mp4",
        "/media/vid_p/.v2.tmp/master.m3u8",
        "/media/vid_p/v1/link.mp4",
        "/media/vid_p/v1/v",
        "/media/vid_p/v1/v/360p/",
        "/media/vid_p/v1/",
    ],
)
def test_nothing_else_can_be_reached(shared: RunningServer, path: str) -> None:
    """Climbing, hidden names, links and folders are 404, whatever the spelling."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()

    assert answer.status == 404
    assert b"SQLite" not in answer.read()
    connection.close()
