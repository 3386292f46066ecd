"""Encoders: what each is told, as FFmpeg's output options. One function an encoder, all with one shape.

Every one makes closed groups of pictures of exactly `gop_frames`, from any first frame, and the same bytes
for the same frames on every machine: threads are pinned where they change the result.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from media_workers.media.facts import Colour
from media_workers.media.hdr import Mastering
from media_workers.media.profile_records import Codec, Speed

if TYPE_CHECKING:
    from media_workers.media.ladder import Rendition

LOOKAHEAD_FRAMES_MAX = 50
# A thread of frames more makes other bytes, and costs quality at joins of few frames.
X265_FRAME_THREADS = 2
VP9_LAG_FRAMES = 25
VP9_FIRST_PASS_SPEED = 4
VP9_TILE_COLUMNS_MAX = 4
VP9_TILE_WIDTH_MIN = 256
# Presets above mix whole blocks of neighbouring frames (found with counted frames at CRF 38).
SVT_PRESET_MAX = 10

Options = dict[str, Any]


class Software(msgspec.Struct, frozen=True, kw_only=True):
    """A codec's encoder on a processor: its presets and reference frames by speed, its profiles by depth.

    `threaded` where threads do not change the result. Under a bitrate cap those of x264 and SVT-AV1 do: what
    is left of the budget depends on how far another thread has come (found: up to five results in six runs).
    """

    encoder: str
    presets: dict[Speed, str]
    references: dict[Speed, int]
    profile: str
    deep_profile: str
    threaded: bool


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder must know besides the rendition: the grid and the colour of what it is given.

    `pass_number` and `pass_log` are for encoders that look twice: 1 writes the log, 2 reads it.
    """

    gop_frames: int
    colour: Colour
    mastering: Mastering | None = None
    pass_number: int | None = None
    pass_log: str | None = None


_AVC_PRESETS: dict[Speed, str] = {
    "veryfast": "veryfast",
    "fast": "fast",
    "medium": "medium",
    "slow": "slow",
}
# The slow presets would take five, more than level 4.2 holds at 1080 lines.
_REFERENCES: dict[Speed, int] = {"veryfast": 1, "fast": 2, "medium": 3, "slow": 4}

SOFTWARE: dict[Codec, Software] = {
    "h264": Software(
        encoder="libx264",
        presets=_AVC_PRESETS,
        references=_REFERENCES,
        profile="high",
        deep_profile="high10",
        threaded=False,
    ),
    "hevc": Software(
        encoder="libx265",
        presets=_AVC_PRESETS,
        references=_REFERENCES,
        profile="main",
        deep_profile="main10",
        threaded=True,
    ),
    "vp9": Software(
        encoder="libvpx-vp9",
        presets={"veryfast": "5", "fast": "4", "medium": "2", "slow": "1"},
        references=_REFERENCES,
        profile="0",
        deep_profile="2",
        threaded=True,
    ),
    "av1": Software(
        encoder="libsvtav1",
        presets={"veryfast": str(SVT_PRESET_MAX), "fast": "8", "medium": "6", "slow": "4"},
        references=_REFERENCES,
        profile="main",
        deep_profile="main",
        threaded=False,
    ),
}

TWO_PASS = frozenset({"libvpx-vp9"})
"""Encoders that need two calls, the first of which makes nothing but a log."""


def encoder_options(rendition: "Rendition", job: Job) -> Options:
    """FFmpeg's output options for the picture of a rendition.

    Args:
        rendition: from the plan.
        job: what is encoded.

    Raises:
        ValueError: an encoder nobody knows, or a pass that is missing or not wanted.
    """
    make = _ENCODERS.get(rendition.encoder)
    if make is None:
        raise ValueError(f"{rendition.name}: there is no encoder {rendition.encoder!r}")
    if (rendition.encoder in TWO_PASS) != (job.pass_number is not None):
        raise ValueError(f"{rendition.name}: {rendition.encoder} does not work with pass {job.pass_number}")
    tags = job.colour
    return {
        "c:v": rendition.encoder,
        **make(rendition, job),
        "color_primaries": tags.primaries,
        "color_trc": tags.transfer,
        "colorspace": tags.matrix,
        "color_range": tags.range,
    }


def pixel_format(rendition: "Rendition") -> str:
    """What the encoder is given: 4:2:0 planes of the rendition's depth."""
    if rendition.encoder.endswith(("_nvenc", "_qsv", "_vaapi", "_videotoolbox")):
        return "p010le" if rendition.bit_depth == 10 else "nv12"
    return "yuv420p10le" if rendition.bit_depth == 10 else "yuv420p"


def _capped(rendition: "Rendition") -> Options:
    return {"maxrate": rendition.maxrate_bps, "bufsize": rendition.bufsize_bits}


def _params(**values: object) -> str:
    """A list of an encoder's own parameters; colons within values would part it."""
    return ":".join(f"{name.replace('_', '-')}={value}" for name, value in values.items())


def _x264(rendition: "Rendition", job: Job) -> Options:
    # One thread, and no other that looks ahead: the same bytes on every worker and every attempt.
    params: dict[str, object] = {
        "keyint": job.gop_frames,
        "min_keyint": job.gop_frames,
        "scenecut": 0,
        "open_gop": 0,
        "rc_lookahead": min(job.gop_frames, LOOKAHEAD_FRAMES_MAX),
        "sync_lookahead": 0,
        "threads": rendition.threads,
    }
    references = {preset: _REFERENCES[speed] for speed, preset in _AVC_PRESETS.items()}
    if rendition.preset in references:
        params["ref"] = references[rendition.preset]
    return {
        "preset": rendition.preset,
        "profile:v": rendition.profile,
        "level:v": rendition.level,
        "crf": f"{rendition.crf:g}",
        **_capped(rendition),
        "x264-params": _params(**params),
    }


def _x265(rendition: "Rendition", job: Job) -> Options:
    params: dict[str, object] = {
        "keyint": job.gop_frames,
        "min_keyint": job.gop_frames,
        "scenecut": 0,
        "open_gop": 0,
        "rc_lookahead": min(job.gop_frames, LOOKAHEAD_FRAMES_MAX),
        "pools": rendition.threads,
        "frame_threads": X265_FRAME_THREADS,
        # Else the bit budget of a row depends on which row another thread has reached.
        "const_vbv": 1,
        "level_idc": rendition.level,
        "high_tier": int(rendition.tier == "high"),
        # The list of settings in the stream names the processor's own instructions.
        "info": 0,
        "log_level": "error",
        "colorprim": job.colour.primaries,
        "transfer": job.colour.transfer,
        "colormatrix": job.colour.matrix,
        "range": "full" if job.colour.range == "pc" else "limited",
    }
    if rendition.dynamic_range == "pq":
        params |= {"hdr10": 1, "hdr10_opt": 1}
        if job.mastering is not None:
            params["master_display"] = job.mastering.x265_display
            params["max_cll"] = f"{job.mastering.max_cll},{job.mastering.max_fall}"
    return {
        "preset": rendition.preset,
        "profile:v": rendition.profile,
        "crf": f"{rendition.crf:g}",
        **_capped(rendition),
        "x265-params": _params(**params),
        # Apple's players take no other name for it.
        "tag:v": "hvc1",
    }


def _vp9(rendition: "Rendition", job: Job) -> Options:
    columns = max(1, min(2**VP9_TILE_COLUMNS_MAX, rendition.width // VP9_TILE_WIDTH_MIN // 2))
    return {
        # With a CRF the bitrate is a cap, over the whole of what is encoded.
        "b:v": rendition.maxrate_bps,
        "crf": round(rendition.crf),
        "deadline": "good",
        "cpu-used": VP9_FIRST_PASS_SPEED if job.pass_number == 1 else int(rendition.preset),
        "auto-alt-ref": 1,
        "lag-in-frames": VP9_LAG_FRAMES,
        "row-mt": 1,
        "tile-columns": int(math.log2(columns)),
        "threads": rendition.threads,
        "g": job.gop_frames,
        "keyint_min": job.gop_frames,
        "profile:v": rendition.profile,
        "pass": job.pass_number,
        "passlogfile": job.pass_log,
    }


def _svt_av1(rendition: "Rendition", job: Job) -> Options:
    if int(rendition.preset) > SVT_PRESET_MAX:
        raise ValueError(f"{rendition.name}: presets above {SVT_PRESET_MAX} damage pictures")
    params: dict[str, object] = {"tune": 0, "scd": 0, "lp": rendition.threads}
    if rendition.dynamic_range == "pq" and job.mastering is not None:
        params["mastering_display"] = job.mastering.svt_display
        params["content_light"] = f"{job.mastering.max_cll},{job.mastering.max_fall}"
    return {
        "preset": rendition.preset,
        "crf": round(rendition.crf),
        **_capped(rendition),
        "g": job.gop_frames,
        "svtav1-params": _params(**params),
    }


def _nvenc(rendition: "Rendition", job: Job) -> Options:
    options: Options = {
        "preset": "p5",
        "tune": "hq",
        "rc": "vbr",
        "cq": f"{rendition.crf:g}",
        "b:v": 0,
        **_capped(rendition),
        **_hard_grid(rendition, job),
        "no-scenecut": 1,
        "forced-idr": 1,
        "strict_gop": 1,
    }
    if rendition.codec == "av1":
        del options["forced-idr"]
    return options


def _qsv(rendition: "Rendition", job: Job) -> Options:
    return {
        "preset": "medium",
        "global_quality": round(rendition.crf),
        **_capped(rendition),
        **_hard_grid(rendition, job),
        "idr_interval": 0,
        "adaptive_i": 0,
        "forced_idr": 1,
    }


def _vaapi(rendition: "Rendition", job: Job) -> Options:
    return {
        "rc_mode": "QVBR",
        "global_quality": round(rendition.crf),
        "b:v": rendition.maxrate_bps,
        **_capped(rendition),
        **_hard_grid(rendition, job),
        "idr_interval": 0,
    }


def _videotoolbox(rendition: "Rendition", job: Job) -> Options:
    # It knows bitrates alone: the cap's usual share.
    return {"b:v": rendition.maxrate_bps // 2, **_capped(rendition), **_hard_grid(rendition, job)}


def _hard_grid(rendition: "Rendition", job: Job) -> Options:
    """The grid of encoders that have their own idea of it: each keyframe is forced as well."""
    grid: Options = {
        "g": job.gop_frames,
        "bf": 2,
        "force_key_frames": f"expr:eq(mod(n,{job.gop_frames}),0)",
        "profile:v": rendition.profile,
    }
    if rendition.codec == "hevc":
        grid["tag:v"] = "hvc1"
    return grid


_ENCODERS: dict[str, Callable[["Rendition", Job], Options]] = {
    "libx264": _x264,
    "libx265": _x265,
    "libvpx-vp9": _vp9,
    "libsvtav1": _svt_av1,
    **{f"{codec}_nvenc": _nvenc for codec in ("h264", "hevc", "av1")},
    **{f"{codec}_qsv": _qsv for codec in ("h264", "hevc", "av1")},
    **{f"{codec}_vaapi": _vaapi for codec in ("h264", "hevc", "av1")},
    **{f"{codec}_videotoolbox": _videotoolbox for codec in ("h264", "hevc")},
}
