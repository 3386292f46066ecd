"""What is corrected in the packager's HLS master, line by line."""

import re

from media_workers.media.package import audio_group
from media_workers.media.plan import Plan
from media_workers.media.presentation import resolve

_URI = re.compile(r'URI="([^"]*)"')
_DEFAULT = re.compile(r"DEFAULT=(?:YES|NO)")


def with_defaults(master: str, plan: Plan) -> str:
    """Make the plan's default track the default of its group.

    The packager goes by language: of two tracks in one language the first gets it, and a track without a
    known language never does.
    """
    chosen = next((track for track in plan.audio if track.default), None)
    if chosen is None:
        return master
    group = f'GROUP-ID="{audio_group(plan, chosen)}"'
    lines = master.splitlines(keepends=True)
    return "".join(_marked(line, chosen.name) if _is_of(line, group) else line for line in lines)


def _is_of(line: str, group: str) -> bool:
    return line.startswith("#EXT-X-MEDIA:TYPE=AUDIO") and group in line


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
