"""Decodes the first, middle and last segment of each stream of a package, encrypted ones with their keys."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from media_workers.drm.secret_file import secret_file
from media_workers.media.check_expected import Evidence
from media_workers.media.guards import decode_args
from media_workers.media.mp4 import InitFacts
from media_workers.media.presentation import Segment
from media_workers.media.protection import ProtectionPlan, decryption_flagfile_text
from media_workers.procs.runner import ProcLimits
from media_workers.sdk import TaskContext
from media_workers.tasks.package_reader import SEGMENT_BYTES_MAX
from media_workers.tasks.package_sites import Site
from media_workers.tasks.tools import GIB, GRACE_SECONDS, run_tool_unchecked

# Three segments of some seconds: even 2160p AV1 decodes in far less.
DECODE_LIMITS = ProcLimits(wall_seconds=600, memory_bytes=8 * GIB, grace_seconds=GRACE_SECONDS)
COMPLAINT_CHARS_MAX = 300


def decode_samples(
    ctx: TaskContext,
    site: Site,
    evidence: Evidence,
    folder: Path,
    *,
    protection: ProtectionPlan | None,
    values: Mapping[str, bytes],
) -> dict[str, str]:
    """What decoding complained of, by stream; "" for nothing. Streams that cannot be decrypted are left out.

    Args:
        ctx: runs the tools.
        site: where the package lies.
        evidence: what was read of it.
        folder: scratch.
        protection: names the keys.
        values: 16 bytes by key id.
    """
    keys = {key.key_id: key for key in protection.keys} if protection else {}
    found: dict[str, str] = {}
    seen: set[str] = set()
    for stream in evidence.streams:
        init = evidence.init_of(stream)
        if init is None or init.kind not in ("vide", "soun"):
            continue
        chosen = sample_of(stream.segments)
        place = chosen[0].ref.key if chosen else ""
        # HLS and DASH list the same segments; once is enough.
        if place in seen or (init.key_id is not None and init.key_id not in values):
            continue
        seen.add(place)
        ctx.check_cancelled()
        sample = folder / "sample.mp4"
        _write_sample(site, chosen, sample)
        key = keys.get(init.key_id or "")
        if key is not None:
            sample = _decrypted(ctx, sample, init, decryption_flagfile_text(key, values), label=key.label)
        found[stream.subject] = _complaint(ctx, sample)
    return found


def sample_of(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The first, the middle and the last, each once."""
    places = sorted({0, len(segments) // 2, len(segments) - 1}) if segments else []
    return tuple(segments[place] for place in places)


def _write_sample(site: Site, segments: tuple[Segment, ...], target: Path) -> None:
    with target.open("wb") as file:
        for part in _parts(segments):
            found = site.read(part[0], offset=part[1], length=part[2])
            file.write(found.content if found else b"")


def _parts(segments: tuple[Segment, ...]) -> Iterator[tuple[str, int, int]]:
    init = segments[0].init
    for ref in (*([init] if init else []), *(segment.ref for segment in segments)):
        yield ref.path, ref.offset or 0, ref.length or SEGMENT_BYTES_MAX


def _complaint(ctx: TaskContext, sample: Path) -> str:
    if not sample.exists():
        return "it cannot be decrypted with the title's key"
    argv = decode_args(ctx.resources.binaries.ffmpeg, str(sample))
    result = run_tool_unchecked(ctx, argv, limits=DECODE_LIMITS)
    lines = result.stderr_tail.strip().splitlines()
    if result.ok and not lines:
        return ""
    return f"decoding fails: {lines[0] if lines else result.exit_code}"[:COMPLAINT_CHARS_MAX]


def _decrypted(ctx: TaskContext, sample: Path, init: InitFacts, flags: str, *, label: str) -> Path:
    """The sample in the clear; no file when the packager cannot."""
    target = sample.with_name("clear.mp4")
    target.unlink(missing_ok=True)
    kind = "video" if init.kind == "vide" else "audio"
    with secret_file(flags, sample.parent) as path:
        argv = [
            ctx.resources.binaries.packager,
            f"in={sample},stream={kind},output={target},drm_label={label}",
            "--enable_raw_key_decryption",
            f"--flagfile={path}",
            "--quiet",
        ]
        run_tool_unchecked(ctx, argv, limits=DECODE_LIMITS)
    return target
