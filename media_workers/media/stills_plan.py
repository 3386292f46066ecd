"""Which pictures stand for a title: the poster, and the storyboard above a player's time line."""

import math
from fractions import Fraction

import msgspec

from media_workers.media.facts import VideoFacts
from media_workers.media.ladder import even_size

POSTER_SIDE_MAX = 1280
POSTER_SMALL_SIDE_MAX = 320
# From early to late; the last is the very first picture, for a title that is black everywhere else.
POSTER_SHARES = (0.1, 0.35, 0.6, 0.85, 0.0)
TILE_SIDE = 160
SHEET_COLUMNS = SHEET_ROWS = 10
STORYBOARD_TILES_AIM = 200
STORYBOARD_INTERVAL_SECONDS_MIN, STORYBOARD_INTERVAL_SECONDS_MAX = 1, 10


class StillsPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Poster candidates and the storyboard: `tiles` pictures, one each `interval_seconds`, on sheets.

    Of a title that is sound alone the poster is its cover art, stream `cover_index`, and there is no
    storyboard.
    """

    poster_width: int
    poster_height: int
    poster_small_width: int
    poster_small_height: int
    poster_seconds: tuple[float, ...]
    interval_seconds: float
    tiles: int
    tile_width: int
    tile_height: int
    columns: int
    rows: int
    keyframes_only: bool
    cover_index: int | None = None

    @property
    def sheets(self) -> int:
        """How many sprite pictures there are."""
        return -(-self.tiles // (self.columns * self.rows))


def stills_plan(video: VideoFacts, seconds: Fraction, *, size: tuple[int, int] | None = None) -> StillsPlan:
    """Plan the stills of a title with a picture.

    Args:
        video: the source's picture.
        seconds: the title's exact length; with a clip, the clip's.
        size: of the picture where it is cropped; None for all of it.
    """
    interval = min(
        max(seconds / STORYBOARD_TILES_AIM, Fraction(STORYBOARD_INTERVAL_SECONDS_MIN)),
        Fraction(STORYBOARD_INTERVAL_SECONDS_MAX),
    )
    interval = Fraction(round(interval * 1000), 1000)
    tiles = max(1, math.ceil(seconds / interval))
    columns = min(SHEET_COLUMNS, tiles)
    width, height = size or (video.display_width, video.display_height)
    poster_width, poster_height = _within(width, height, POSTER_SIDE_MAX)
    small_width, small_height = _within(width, height, POSTER_SMALL_SIDE_MAX)
    tile_width, tile_height = _within(width, height, TILE_SIDE)
    return StillsPlan(
        poster_width=poster_width,
        poster_height=poster_height,
        poster_small_width=small_width,
        poster_small_height=small_height,
        poster_seconds=tuple(round(float(seconds) * share, 3) for share in POSTER_SHARES),
        interval_seconds=float(interval),
        tiles=tiles,
        tile_width=tile_width,
        tile_height=tile_height,
        columns=columns,
        rows=min(SHEET_ROWS, -(-tiles // columns)),
        keyframes_only=0 < video.keyframe_gap_seconds_max <= float(interval),
    )


def cover_plan(cover_index: int) -> StillsPlan:
    """Plan the poster of a title that is sound alone; its size follows the art's, within the same bounds."""
    return StillsPlan(
        poster_width=POSTER_SIDE_MAX,
        poster_height=POSTER_SIDE_MAX,
        poster_small_width=POSTER_SMALL_SIDE_MAX,
        poster_small_height=POSTER_SMALL_SIDE_MAX,
        poster_seconds=(),
        interval_seconds=0.0,
        tiles=0,
        tile_width=0,
        tile_height=0,
        columns=1,
        rows=1,
        keyframes_only=False,
        cover_index=cover_index,
    )


def _within(width: int, height: int, long_side_max: int) -> tuple[int, int]:
    """Even size of a picture whose long side is bounded; never larger than the picture."""
    short, long = sorted((width, height))
    bounded = min(long, long_side_max)
    lines = math.floor(Fraction(short * bounded, long * 2) + Fraction(1, 2)) * 2
    return even_size(width, height, max(2, lines))
