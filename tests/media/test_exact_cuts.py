"""Frame k of a title is the same picture, encoded whole or in chunks, whatever the source."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ffmpeg
import msgspec
import pytest

from media_workers.media.chunks import plan_chunks
from media_workers.media.facts import SourceFacts
from media_workers.media.guards import compiled
from media_workers.media.packets import PacketScan
from media_workers.media.picture import clock_of, picture_plan, planned_frames, to_rendition
from media_workers.media.plan import Chunk, Plan, Rendition, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.verify import check_rendition
from media_workers.media.video import video_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult
from tests.media.frame_codes import coded_source, codes_args, read_codes
from tests.media.messy import MESSY

pytestmark = pytest.mark.media

CODECS = ("h264", "hevc", "vp9", "av1")
# A clip of each container and each codec that hides frames; the others are in the whole matrix.
USUAL_PAIRS = [(name, "h264") for name in MESSY] + [
    (name, codec) for name in ("open_gop", "ntsc", "hdr10") for codec in CODECS[1:]
]
WHOLE_MATRIX = bool(os.environ.get("MEDIA_MATRIX"))

Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Execute = Callable[..., ProcResult]
Planned = tuple[Path, Plan]


@pytest.fixture(scope="session")
def messy(
    *, tools: Binaries, execute: Execute, probe: Probe, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Planned]:
    """A source and its plan: chunks of two seconds, a keyframe each, one rendition in every codec."""
    folder = tmp_path_factory.mktemp("messy")
    made: dict[str, Planned] = {}
    profile = resolve_profile(
        "fast", {"codecs": list(CODECS), "renditions": ["90p"], "qualityGate": False, "hdr": "auto"}
    )
    profile = msgspec.structs.replace(profile, gop_seconds=1)

    def make(name: str) -> Planned:
        if name in made:
            return made[name]
        recipe = MESSY[name]
        path = folder / f"{name}.{recipe.suffix}"
        first = path.with_stem(f"{name}_stored") if recipe.turned else path
        quiet = [tools.ffmpeg, "-loglevel", "error", "-y"]
        execute([*quiet, *recipe.source, *recipe.arguments, str(first)])
        if recipe.turned:
            execute([*quiet, "-display_rotation", "-90", "-i", str(first), "-c", "copy", str(path)])
        plan = make_plan(probe(path)[2], profile)
        chunks = plan_chunks(plan.frames_total, plan.gop_frames, plan.rate, chunk_seconds=2)
        made[name] = path, msgspec.structs.replace(plan, chunks=chunks)
        return made[name]

    return make


@pytest.fixture
def pictures(tools: Binaries, execute: Execute, tmp_path: Path) -> Callable[..., list[bytes]]:
    """The pictures an encoder would be given, a hash each."""

    def decoded(plan: Plan, rendition: Rendition, source: Path, chunk: Chunk | None) -> list[bytes]:
        picture = to_rendition(planned_frames(plan, str(source), chunk), picture_plan(plan), rendition)
        target = tmp_path / "pictures.yuv"
        stream = ffmpeg.output(picture, str(target), format="rawvideo", fps_mode="passthrough")
        execute(compiled(tools.ffmpeg, stream, "error", *clock_of(plan, chunk)))
        size = rendition.width * rendition.height * 3 // 2 * (2 if rendition.bit_depth == 10 else 1)
        content = target.read_bytes()
        assert len(content) % size == 0
        return [hashlib.sha256(content[at : at + size]).digest() for at in range(0, len(content), size)]

    return decoded


@pytest.mark.parametrize("name", MESSY)
def test_same_pictures_whole_and_in_chunks(
    name: str, messy: Callable[[str], Planned], pictures: Callable[..., list[bytes]]
) -> None:
    """Every encoder is given exactly the planned pictures, bit for bit those of the whole title."""
    source, plan = messy(name)
    rendition = plan.renditions[0]

    whole = pictures(plan, rendition, source, None)
    cut = [pictures(plan, rendition, source, chunk) for chunk in plan.chunks]

    assert len(whole) == plan.frames_total
    assert len(plan.chunks) > 2
    assert [len(part) for part in cut] == [chunk.frames for chunk in plan.chunks]
    joined = [picture for part in cut for picture in part]
    assert [frame for frame, pair in enumerate(zip(whole, joined, strict=True)) if len(set(pair)) > 1] == []


@pytest.fixture
def encoded_codes(
    *, tools: Binaries, execute: Execute, probe: Probe, tmp_path: Path
) -> Callable[..., list[int]]:
    """The numbers of the frames of a rendition that was encoded in chunks; each chunk is as planned."""

    def encode(plan: Plan, rendition: Rendition, source: Path) -> list[int]:
        found: list[int] = []
        headers = set()
        for chunk in plan.chunks:
            target = tmp_path / f"{rendition.name}-{chunk.number}.mp4"
            for number in (1, 2) if rendition.codec == "vp9" else (None,):
                argv = video_args(
                    tools.ffmpeg,
                    plan,
                    [rendition],
                    source=str(source),
                    targets=[str(target)],
                    chunk=chunk,
                    pass_log=str(tmp_path / "passes") if number else None,
                    pass_number=number,
                )
                execute(argv)
            document, scan, _ = probe(target)
            assert check_rendition(plan, rendition, document, scan, chunk=chunk) == ()
            headers.add(document["streams"][0].get("extradata_hash"))
            found += read_codes(execute(codes_args(tools.ffmpeg, str(target))).stdout)
        assert len(headers) == 1
        return found

    return encode


@pytest.mark.parametrize(
    ("name", "codec"),
    [(name, codec) for name in MESSY for codec in CODECS] if WHOLE_MATRIX else USUAL_PAIRS,
)
def test_encoded_chunks_hold_the_planned_frames(
    name: str,
    codec: str,
    messy: Callable[[str], Planned],
    encoded_codes: Callable[..., list[int]],
) -> None:
    """The frames that come out of the encoder, chunk after chunk, are the source's, each in its place."""
    source, plan = messy(name)
    rendition = next(item for item in plan.renditions if item.codec == codec)

    found = encoded_codes(plan, rendition, source)

    if name == "interlaced":
        # Fields of one picture differ in the lowest bit alone, which looks like a pattern that stands still.
        found = [number // 2 for number in found]
    assert found == expected_codes(name, plan)


@pytest.mark.parametrize("name", ["open_gop", "late_start", "program_stream"])
def test_a_clip_begins_and_ends_at_its_frames(
    name: str,
    *,
    messy: Callable[[str], Planned],
    probe: Probe,
    encoded_codes: Callable[..., list[int]],
) -> None:
    """From 4.2 to 7 seconds at 25 a second are frames 105 to 174, in chunks and in one piece."""
    source, _ = messy(name)
    wanted = {"renditions": ["90p"], "clip": {"start": 4.2, "end": 7}, "qualityGate": False}
    profile = msgspec.structs.replace(resolve_profile("fast", wanted), gop_seconds=1)
    plan = make_plan(probe(source)[2], profile)
    cut = plan_chunks(plan.frames_total, plan.gop_frames, plan.rate, chunk_seconds=1)

    for chunks in (plan.chunks, cut):
        chunked = msgspec.structs.replace(plan, chunks=chunks)
        assert encoded_codes(chunked, plan.renditions[0], source) == list(range(105, 175))


def test_a_clock_that_jumps_is_read_from_its_start(
    *,
    tools: Binaries,
    execute: Execute,
    probe: Probe,
    pictures: Callable[..., list[bytes]],
    tmp_path: Path,
) -> None:
    """Two recordings in one file, the second an hour later by its clock: one chunk, whatever is asked."""
    parts = []
    for number in (0, 1):
        part = tmp_path / f"{number}.ts"
        shifted = ["-output_ts_offset", str(3600 * number), "-f", "mpegts", str(part)]
        numbered = coded_source(frames=100, first=100 * number)
        execute([tools.ffmpeg, "-loglevel", "error", *numbered, "-c:v", "libx264", *shifted])
        parts.append(part.read_bytes())
    source = tmp_path / "input.bin"
    source.write_bytes(b"".join(parts))
    profile = resolve_profile("fast", {"renditions": ["90p"], "chunkSeconds": 6})

    plan = make_plan(probe(source)[2], profile)

    [chunk] = plan.chunks
    assert chunk.frames == plan.frames_total == 200
    assert clock_of(plan, chunk) == ()
    assert len(pictures(plan, plan.renditions[0], source, chunk)) == 200


def expected_codes(name: str, plan: Plan) -> list[int]:
    """What must be shown, reckoned from how the source was made."""
    frames = range(plan.frames_total)
    if name == "variable_rate":
        kept = [n for n in range(240) if n % 7 != 3 and not 80 <= n <= 97]
    elif name == "slides":
        kept = list(range(0, 240, 45))
    else:
        return list(frames)
    return [max(n for n in kept if n * plan.rate / 30 <= frame) for frame in frames]
