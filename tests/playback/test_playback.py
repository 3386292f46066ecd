"""What is published plays: in a real browser, with and without keys, in every codec, at every quality."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.media.packages import Title
from tests.playback.conftest import Protected

pytestmark = pytest.mark.media

NOISE_FRAMES_MAX = 5
Play = Callable[..., dict[str, Any]]
Published = Callable[[str], Protected]


@pytest.mark.parametrize(
    ("scheme", "manifest"),
    [
        ("clear", "manifest.mpd"),
        ("clear", "master.m3u8"),
        ("cbcs", "manifest.mpd"),
        ("cbcs", "master.m3u8"),
        ("cenc", "manifest.mpd"),
        ("cenc", "master.m3u8"),
        ("dual", "manifest.mpd"),
        ("dual", "manifest_cbcs.mpd"),
        ("dual", "master.m3u8"),
    ],
)
def test_plays(scheme: str, manifest: str, published: Published, play: Play) -> None:
    """Every manifest of every kind of package plays: pictures are decoded and time goes on."""
    package = published(scheme)

    seen = play(package.folder / manifest, package.keys)

    assert seen["errors"] == []
    assert seen["frames"] > 10
    assert seen["seconds"] >= 0.6
    assert (seen["width"], seen["height"]) in {(320, 180), (256, 144)}
    assert seen["keySystem"] == ("" if scheme == "clear" else "org.w3.clearkey")


@pytest.mark.parametrize("codec", ["avc1", "vp09", "av01"])
def test_each_codec_plays(codec: str, published: Published, play: Play) -> None:
    """Each codec's renditions are decoded by the browser."""
    seen = play(published("clear").folder / "manifest.mpd", codec=codec)

    assert seen["errors"] == []
    assert seen["frames"] > 10
    assert all(track["codec"].startswith(codec) for track in seen["variants"] if track["active"])


@pytest.mark.parametrize("scheme", ["clear", "cbcs", "cenc"])
def test_quality_switch(scheme: str, published: Published, play: Play) -> None:
    """A player changes the rendition in the middle, also of an encrypted title, and goes on decoding."""
    package = published(scheme)

    seen = play(package.folder / "manifest.mpd", package.keys, codec="avc1", switch=True)

    assert seen["errors"] == []
    assert {seen["heightBefore"], seen["height"]} == {144, 180}
    assert seen["frames"] > seen["framesBefore"]


@pytest.mark.parametrize("scheme", ["cbcs", "cenc"])
@pytest.mark.parametrize("manifest", ["manifest.mpd", "master.m3u8"])
def test_a_wrong_key_plays_nothing(scheme: str, manifest: str, published: Published, play: Play) -> None:
    """With other keys of the right ids a player does not play, and says so.

    Headers of slices are in the clear in `cbcs`: a decoder may count a picture of noise before it gives up.
    """
    package = published(scheme)
    wrong = dict.fromkeys(package.keys, "00112233445566778899aabbccddeeff")

    seen = play(package.folder / manifest, wrong)

    assert seen["errors"]
    assert seen["frames"] < NOISE_FRAMES_MAX


@pytest.mark.parametrize("scheme", ["cbcs", "cenc"])
def test_without_a_key_nothing_plays(scheme: str, published: Published, play: Play) -> None:
    """A player that knows no key and no licence server refuses to begin.

    Shaka Player says 6012 (no licence server) where the browser has one of the systems, else 6001.
    """
    seen = play(published(scheme).folder / "manifest.mpd")

    assert seen["errors"] in ([6001], [6012])
    assert seen["frames"] == 0


@pytest.mark.parametrize("manifest", ["manifest.mpd", "master.m3u8"])
def test_tracks_are_listed(manifest: str, published: Published, play: Play) -> None:
    """A player offers both languages of the sound, and the subtitles with what they are for."""
    seen = play(published("clear").folder / manifest)

    assert {track["language"] for track in seen["variants"]} == {"en", "fr"}
    assert {track["height"] for track in seen["variants"]} == {180, 144}
    assert {text["language"]: text["forced"] for text in seen["texts"]} == {"en": False, "fr": True}


def test_the_storyboard_is_listed(published: Published, play: Play) -> None:
    """DASH players find the pictures for their time line in the manifest."""
    assert play(published("clear").folder / "manifest.mpd")["images"] == 1


def test_a_preview_plays(title: Title, play: Play) -> None:
    """A version with only the smallest rendition plays by itself."""
    small = tuple(item for item in title.videos if item.video.rendition == "144p")
    packaged = title.package(renditions=small, audio=title.audios[:1], text=(), stills=None)

    seen = play(title.publish(packaged, "1-preview") / "master.m3u8")

    assert seen["errors"] == []
    assert seen["height"] == 144
    assert seen["frames"] > 10
