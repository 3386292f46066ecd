"""Checks published HLS over HTTP, as a player would meet it: every playlist and every segment is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urljoin

import m3u8

from api.client.client import ClientError, ShowrunnerClient

EXTINF_TOLERANCE_S = 0.01


@dataclass(slots=True)
class HlsCheck:
    """What was found. `problems` are sentences; none means that the streams are whole.

    Attributes:
        variants: entries of the master playlist.
        playlists: media playlists, those of sound included.
        segments: media and init segments of all playlists together.
        seconds: the longest playlist's duration.
    """

    variants: int = 0
    playlists: int = 0
    segments: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def check_hls(client: ShowrunnerClient, master_url: str) -> HlsCheck:
    """Fetch the master and every media playlist, and ask for every segment's size."""
    found = HlsCheck()
    try:
        master = m3u8.loads(client.text(master_url), uri=master_url)
    except (ClientError, ValueError) as error:
        found.problems.append(f"the master playlist cannot be read: {error}")
        return found
    found.variants = len(master.playlists)
    if not master.playlists:
        found.problems.append("the master playlist lists no rendition")
    uris = [each.uri for each in master.playlists] + [each.uri for each in master.media if each.uri]
    durations: set[float] = set()
    for uri in dict.fromkeys(uris):
        durations.add(round(_check_playlist(client, urljoin(master_url, uri), found), 3))
    found.seconds = max(durations, default=0.0)
    return found


def _check_playlist(client: ShowrunnerClient, url: str, found: HlsCheck) -> float:
    name = url.rsplit("/", 2)[-2] + "/" + url.rsplit("/", 1)[-1]
    found.playlists += 1
    try:
        playlist = m3u8.loads(client.text(url), uri=url)
    except (ClientError, ValueError) as error:
        found.problems.append(f"{name} cannot be read: {error}")
        return 0.0
    if not playlist.segments:
        found.problems.append(f"{name} lists no segment")
    if not playlist.is_endlist:
        found.problems.append(f"{name} has no end")
    longest = max((float(each.duration or 0) for each in playlist.segments), default=0.0)
    if longest > float(playlist.target_duration or 0) + 0.5 + EXTINF_TOLERANCE_S:
        found.problems.append(f"{name} has a segment longer than its target duration")
    inits = [each.init_section.uri for each in playlist.segments if each.init_section is not None]
    for uri in dict.fromkeys([*inits, *(each.uri for each in playlist.segments)]):
        found.segments += 1
        try:
            if client.size(urljoin(url, uri)) == 0:
                found.problems.append(f"{name}: {uri} is empty")
        except ClientError as error:
            found.problems.append(f"{name}: {uri} cannot be fetched: {error}")
    return sum(float(each.duration or 0) for each in playlist.segments)
