"""What is corrected in the packager's HLS master, line by line."""

import re
from collections.abc import Mapping

from media_workers.media.package import audio_group
from media_workers.media.plan import Plan

_URI = re.compile(r'URI="([^"]*)"')
_GROUP = re.compile(r'GROUP-ID="([^"]*)"')
_RANGE = re.compile(r"VIDEO-RANGE=\w+")
_RANGES = {"sdr": "SDR", "pq": "PQ", "hlg": "HLG"}
_DEFAULT = re.compile(r"DEFAULT=(?:YES|NO)")


def with_defaults(master: str, plan: Plan) -> str:
    """Make the plan's default track of each group the default of that group.

    The packager goes by language: of two tracks in one language the first gets it, and a track without a
    known language never does.
    """
    chosen = {audio_group(plan, track): track.name for track in plan.audio if track.default}
    return "".join(_edited(line, chosen) for line in master.splitlines(keepends=True))


def with_ranges(master: str, plan: Plan) -> str:
    """Say each picture's VIDEO-RANGE as planned: the packager takes VP9 for SDR whatever it is."""
    ranges = {item.name: _RANGES[item.dynamic_range] for item in plan.renditions}
    lines = master.splitlines(keepends=True)
    # A variant's address is on the line after it, a keyframe playlist's in its own.
    following = [*lines[1:], ""]
    return "".join(
        _ranged(line, _folder(after if line.startswith("#EXT-X-STREAM-INF:") else line), ranges)
        for line, after in zip(lines, following, strict=True)
    )


def _ranged(line: str, name: str, ranges: Mapping[str, str]) -> str:
    if not line.startswith(("#EXT-X-STREAM-INF:", "#EXT-X-I-FRAME-STREAM-INF:")) or name not in ranges:
        return line
    said = f"VIDEO-RANGE={ranges[name]}"
    if _RANGE.search(line):
        return _RANGE.sub(said, line)
    return line.replace("RESOLUTION=", f"{said},RESOLUTION=", 1)


def _folder(line: str) -> str:
    """Name of the folder that an address, alone or in a tag, points into."""
    found = _URI.search(line)
    uri = found.group(1) if found else line.strip()
    return uri.rpartition("/")[0].rpartition("/")[2]


def _edited(line: str, chosen: Mapping[str, str]) -> str:
    found = _GROUP.search(line) if line.startswith("#EXT-X-MEDIA:TYPE=AUDIO") else None
    return line if found is None or found.group(1) not in chosen else _marked(line, chosen[found.group(1)])


def _marked(line: str, name: str) -> str:
    if _folder(line) != name:
        return _DEFAULT.sub("DEFAULT=NO", line)
    marked = _DEFAULT.sub("DEFAULT=YES", line)
    if "AUTOSELECT=" in marked:
        return marked
    # What is the default is chosen by itself (RFC 8216 4.3.4.1).
    return marked.replace("DEFAULT=YES", "DEFAULT=YES,AUTOSELECT=YES")
