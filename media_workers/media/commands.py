"""Old names, re-exported until every caller names its own module."""

from media_workers.media.guards import (
    FRAME_PX_MAX,
    HLS_DEMUXERS,
    SOURCE_DEMUXERS,
    decode_args,
    packets_args,
    probe_args,
)
from media_workers.media.sound import audio_args, loudness_args
from media_workers.media.stills import choose_poster, poster_args, storyboard_args
from media_workers.media.video import video_args

__all__ = [
    "FRAME_PX_MAX",
    "HLS_DEMUXERS",
    "SOURCE_DEMUXERS",
    "audio_args",
    "choose_poster",
    "decode_args",
    "loudness_args",
    "packets_args",
    "poster_args",
    "probe_args",
    "storyboard_args",
    "video_args",
]
