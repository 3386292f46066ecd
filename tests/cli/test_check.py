"""The check of published HLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api.client import ShowrunnerClient
from api.client.check import check_hls
from tests.cli.conftest import Serving

pytestmark = pytest.mark.server

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",DEFAULT=YES,URI="audio/playlist.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1000,CODECS="avc1.64001f,mp4a.40.2",AUDIO="a"
v/playlist.m3u8
"""
MEDIA = """#EXTM3U
#EXT-X-TARGETDURATION:6
#EXT-X-MAP:URI="init.mp4"
#EXTINF:6.0,
1.m4s
#EXTINF:2.5,
2.m4s
#EXT-X-ENDLIST
"""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "media" / "published" / "vid_h" / "v1"
    for track in ("v", "audio"):
        (folder / track).mkdir(parents=True)
        (folder / track / "playlist.m3u8").write_text(MEDIA)
        for name in ("init.mp4", "1.m4s", "2.m4s"):
            (folder / track / name).write_bytes(b"x")
    (folder / "master.m3u8").write_text(MASTER)
    return folder


def test_a_whole_package_passes_and_each_fault_is_named(
    serve: Callable[..., Serving], published: Path
) -> None:
    """Whole: counts, no problem. A missing or empty segment, an open end, no playlist: a sentence each."""
    server = serve()
    with ShowrunnerClient(server.url) as client:
        url = f"{server.url}/media/vid_h/v1/master.m3u8"

        whole = check_hls(client, url)
        assert whole.problems == []
        assert (whole.variants, whole.playlists, whole.segments, whole.seconds) == (1, 2, 6, 8.5)

        (published / "v" / "2.m4s").unlink()
        (published / "v" / "1.m4s").write_bytes(b"")
        (published / "audio" / "playlist.m3u8").write_text(MEDIA.replace("#EXT-X-ENDLIST\n", ""))
        broken = check_hls(client, url).problems
        assert [text.split(" cannot")[0] for text in broken] == [
            "v/playlist.m3u8: 1.m4s is empty",
            "v/playlist.m3u8: 2.m4s",
            "audio/playlist.m3u8 has no end",
        ]

        (published / "v" / "playlist.m3u8").unlink()
        assert any("v/playlist.m3u8 cannot be read" in text for text in check_hls(client, url).problems)
        missing = check_hls(client, f"{server.url}/media/vid_none/v1/master.m3u8")
        assert len(missing.problems) == 1
