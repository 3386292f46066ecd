"""What this machine's tools can do: asked of the tools themselves, never assumed."""

import shutil
from pathlib import Path

import msgspec

from media_workers.media.hardware import choose_hardware, hardware_encoders, listing_args, trial_args
from media_workers.media.profile_records import Codec
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, run
from media_workers.procs.sandbox import check_sandbox

Check = dict[str, object]

# What renditions, sound and pictures are made with.
ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "aac", "libopus", "ac3", "eac3", "mjpeg")
# What measures quality, maps high dynamic range and draws watermarks.
FILTERS = ("libvmaf", "xpsnr", "zscale", "drawtext")
DECODERS = ("libdav1d",)
LISTING_LIMITS = ProcLimits(wall_seconds=30)
TRIAL_LIMITS = ProcLimits(wall_seconds=20)
FREE_BYTES_MIN = 2 << 30


def tool_checks(tools: Binaries) -> list[Check]:
    """Encoders, filters and decoders that FFmpeg must have, and cards that it may have."""
    checks = []
    for kind, names in (("encoder", ENCODERS), ("filter", FILTERS), ("decoder", DECODERS)):
        listed = run([tools.ffmpeg, "-hide_banner", f"-{kind}s"], limits=LISTING_LIMITS).stdout.decode()
        known = {line.split()[1] for line in listed.splitlines() if len(line.split()) > 1}
        for name in names:
            missing = f"this FFmpeg has no {name}; name another with SHOWRUNNER_FFMPEG"
            there = name in known
            checks.append({"check": f"{kind} {name}", "ok": there, "detail": "present" if there else missing})
    return checks + _hardware_checks(tools)


def usable_hardware(tools: Binaries) -> tuple[str, ...]:
    """Encoders on graphics cards that FFmpeg reports and that have encoded a few pictures just now."""
    return tuple(
        name
        for name in reported_hardware(tools)
        if run(trial_args(tools.ffmpeg, name), limits=TRIAL_LIMITS).ok
    )


def reported_hardware(tools: Binaries) -> tuple[str, ...]:
    """Encoders on graphics cards that FFmpeg was built with; whether there is a card is another question."""
    return hardware_encoders(run(listing_args(tools.ffmpeg), limits=LISTING_LIMITS).stdout.decode())


def chosen_hardware(tools: Binaries, wanted: str) -> dict[Codec, str]:
    """The encoder of each codec that a card takes over.

    Args:
        tools: asked and tried.
        wanted: kinds from the settings, best first, such as "nvenc,vaapi"; "" wants none and asks nothing.
    """
    kinds = [kind.strip() for kind in wanted.split(",") if kind.strip()]
    return choose_hardware(kinds, usable_hardware(tools)) if kinds else {}


def disk_check(name: str, folder: Path) -> Check:
    """Whether there is room in a folder that may not exist yet."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    enough = free >= FREE_BYTES_MIN
    detail = f"{free / (1 << 30):.1f} GiB free at {folder}"
    return {
        "check": f"disk for {name}",
        "ok": enough,
        "detail": detail if enough else f"{detail}; free some space",
        "freeBytes": free,
    }


def sandbox_check() -> Check:
    """How tools are held. Never a failure: where the kernel allows less, FFmpeg's own whitelists hold."""
    found = check_sandbox()
    return {"check": "sandbox", "ok": True, "detail": found.sentence, **msgspec.to_builtins(found)}


def _hardware_checks(tools: Binaries) -> list[Check]:
    """Never a failure: without a card the processor encodes."""
    usable = set(usable_hardware(tools))
    return [
        {
            "check": f"encoder {name}",
            "ok": True,
            "detail": "usable: SHOWRUNNER_HARDWARE can name it"
            if name in usable
            else "FFmpeg knows it, and no card here encodes with it",
            "usable": name in usable,
        }
        for name in reported_hardware(tools)
    ]
