"""Joining the chunks of a rendition without touching a picture."""

from collections.abc import Sequence

from media_workers.media.guards import CLEAN, FASTSTART, QUIET
from media_workers.media.plan import Plan, Rendition

LIST_NAME = "chunks.txt"
_DEMUXERS = "concat,mov,mp4"


def part_name(number: int) -> str:
    """File name of a chunk: as long for the last as for the first, so that their order is the alphabet's."""
    return f"chunk-{number:06d}.mp4"


def join_list(names: Sequence[str]) -> str:
    """The list that FFmpeg's concat reads; the names are ours and plain."""
    return "ffconcat version 1.0\n" + "".join(f"file {name}\n" for name in names)


def join_args(ffmpeg: str, plan: Plan, rendition: Rendition, *, listed: str, target: str) -> list[str]:
    """Join chunks into one file with the same pictures, every timestamp on the frame grid.

    Args:
        ffmpeg: the binary.
        plan: of the title.
        rendition: which one.
        listed: path of the list; the chunks are beside it.
        target: path of the new file.
    """
    ticks = plan.timescale / plan.rate
    # The list counts in microseconds, which an odd frame rate does not divide: back to whole frames.
    grid = f"round(%s/{ticks})*{ticks}"
    stamps = f"setts=pts={grid % 'PTS'}:dts={grid % 'DTS'}:duration={ticks}"
    tag = ["-tag:v", "hvc1"] if rendition.codec == "hevc" else []
    return [
        *(ffmpeg, *QUIET, "-loglevel", "warning", "-y"),
        *("-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS),
        *("-f", "concat", "-safe", "1", "-i", listed),
        *("-map", "0:v:0", "-c", "copy", "-bsf:v", stamps, *tag),
        *("-video_track_timescale", str(plan.timescale), "-movflags", FASTSTART),
        *(word for name, value in CLEAN.items() for word in (f"-{name}", str(value))),
        *("-f", "mp4", target),
    ]
