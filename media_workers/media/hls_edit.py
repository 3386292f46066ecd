"""What is corrected in the packager's HLS master, line by line."""

import re
from collections.abc import Mapping

from media_workers.media.package import audio_group
from media_workers.media.plan import Plan
from media_workers.media.presentation import resolve

_URI = re.compile(r'URI="([^"]*)"')
_GROUP = re.compile(r'GROUP-ID="([^"]*)"')
_DEFAULT = re.compile(r"DEFAULT=(?:YES|NO)")


def with_defaults(master: str, plan: Plan) -> str:
    """Make the plan's default track of each group the default of that group.

    The packager goes by language: of two tracks in one language the first gets it, and a track without a
    known language never does.
    """
    chosen = {audio_group(plan, track): track.name for track in plan.audio if track.default}
    return "".join(_edited(line, chosen) for line in master.splitlines(keepends=True))


def _edited(line: str, chosen: Mapping[str, str]) -> str:
    found = _GROUP.search(line) if line.startswith("#EXT-X-MEDIA:TYPE=AUDIO") else None
    return line if found is None or found.group(1) not in chosen else _marked(line, chosen[found.group(1)])


def _marked(line: str, name: str) -> str:
    found = _URI.search(line)
    folder = resolve("", found.group(1)).rpartition("/")[0] if found else ""
    if folder.rpartition("/")[2] != name:
        return _DEFAULT.sub("DEFAULT=NO", line)
    marked = _DEFAULT.sub("DEFAULT=YES", line)
    if "AUTOSELECT=" in marked:
        return marked
    # What is the default is chosen by itself (RFC 8216 4.3.4.1).
    return marked.replace("DEFAULT=YES", "DEFAULT=YES,AUTOSELECT=YES")
