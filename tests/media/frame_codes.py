"""Frame numbers burned into pictures as blocks of light and dark: they survive any encoder at any size.

A picture is four by four blocks, one a bit of its number, least significant first in reading order. Reading
averages each block, so that scaling, heavy quantisation and half-blended fields do not matter.
"""

from collections.abc import Sequence

COLUMNS, ROWS = 4, 4
DARK, LIGHT = 40, 210
BITS = COLUMNS * ROWS


def coded_source(
    *, frames: int, rate: str = "25", width: int = 160, height: int = 96, first: int = 0
) -> list[str]:
    """FFmpeg input arguments for `frames` pictures that carry their numbers, `first` and on.

    Args:
        frames: how many.
        rate: pictures a second, such as "30000/1001".
        width: in pixels.
        height: likewise.
        first: the number of the first.
    """
    bit = f"floor(X*{COLUMNS}/W)+{COLUMNS}*floor(Y*{ROWS}/H)"
    luma = f"if(mod(floor((N+{first})/pow(2,{bit})),2),{LIGHT},{DARK})"
    # Blocks are drawn once at a size of one pixel each and enlarged: a quarter of a second for a minute.
    graph = (
        f"color=s={COLUMNS * 2}x{ROWS * 2}:r={rate},format=yuv420p,trim=end_frame={frames},"
        f"geq=lum='{luma}':cb=128:cr=128,scale={width}:{height}:flags=neighbor,setsar=1"
    )
    return ["-f", "lavfi", "-i", graph]


def codes_args(ffmpeg: str, media: str) -> list[str]:
    """Decode a file and print sixteen bytes of luma a frame on stdout, for `read_codes`."""
    picture = f"scale={COLUMNS}:{ROWS}:flags=area,format=gray"
    return [
        *(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-i", media, "-map", "0:v:0"),
        *("-vf", picture, "-fps_mode", "passthrough", "-f", "rawvideo", "-"),
    ]


def read_codes(luma: bytes) -> list[int]:
    """The numbers of the pictures that `codes_args` printed, in order; some block is light."""
    # What light and dark are depends on the dynamic range: their middle does not.
    middle = (min(luma, default=0) + max(luma, default=0)) / 2
    pictures = (luma[start : start + BITS] for start in range(0, len(luma), BITS))
    return [_number(picture, middle) for picture in pictures]


def _number(blocks: Sequence[int], middle: float) -> int:
    return sum(1 << bit for bit, block in enumerate(blocks) if block > middle)
