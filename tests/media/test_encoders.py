"""Four encoders on one grid: the same bytes each time, keyframes in their places, the right colour."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.chunks import Chunk
from media_workers.media.encoders import SVT_PRESET_MAX, Job, encoder_options
from media_workers.media.facts import Colour, SourceFacts
from media_workers.media.guards import first_frame_args
from media_workers.media.hdr import read_mastering
from media_workers.media.ladder import Rendition
from media_workers.media.packets import PacketScan
from media_workers.media.picture import watermark_text
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.verify import check_rendition
from media_workers.media.video import video_args
from media_workers.media.watermark import Watermark
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult

pytestmark = pytest.mark.media

CODECS = ("h264", "hevc", "vp9", "av1")
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Execute = Callable[..., ProcResult]
Encode = Callable[..., list[Path]]


@pytest.fixture(scope="session")
def cuts(tools: Binaries, execute: Execute, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes with grain in three seconds of 29.97, none of them changing on the grid."""
    path = tmp_path_factory.mktemp("cuts") / "cuts.mkv"
    scenes = ("testsrc2=s=160x90", "mandelbrot=s=160x90", "smptebars=s=160x90")
    inputs = [
        word
        for scene, seconds in zip(scenes, (0.7, 1.6, 0.7), strict=True)
        for word in ("-f", "lavfi", "-t", str(seconds), "-i", f"{scene}:r=30000/1001")
    ]
    graph = "[0][1][2]concat=n=3,noise=alls=12:allf=t,format=yuv420p"
    execute(
        [
            *(tools.ffmpeg, "-loglevel", "error", "-y", *inputs, "-filter_complex", graph),
            *("-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", str(path)),
        ]
    )
    return path


@pytest.fixture
def planned(probe: Probe) -> Callable[..., Plan]:
    """A plan with a keyframe a second and one small rendition in every codec, or as the overrides say."""

    def plan(source: Path, **overrides: Any) -> Plan:
        wanted = {"codecs": list(CODECS), "renditions": ["90p"], "qualityGate": False, **overrides}
        profile = msgspec.structs.replace(resolve_profile("fast", wanted), gop_seconds=1)
        return make_plan(probe(source)[2], profile)

    return plan


@pytest.fixture
def encode(tools: Binaries, execute: Execute, tmp_path: Path) -> Encode:
    """Encode renditions in one process, or in the passes they take."""
    count = 0

    def run(
        plan: Plan, renditions: Sequence[Rendition], source: Path, overlay: Path | None = None
    ) -> list[Path]:
        nonlocal count
        count += 1
        targets = [tmp_path / f"{item.name}-{count}.mp4" for item in renditions]
        two_passes = renditions[0].codec == "vp9"
        for number in (1, 2) if two_passes else (None,):
            argv = video_args(
                tools.ffmpeg,
                plan,
                renditions,
                source=str(source),
                targets=[str(target) for target in targets],
                pass_log=str(tmp_path / f"passes-{count}") if two_passes else None,
                pass_number=number,
                overlay=None if overlay is None else str(overlay),
            )
            execute(argv)
        return targets

    return run


def of_codec(plan: Plan, codec: str) -> Rendition:
    return next(item for item in plan.renditions if item.codec == codec)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("codec", CODECS)
def test_same_bytes_and_the_same_grid(
    codec: str, cuts: Path, planned: Callable[..., Plan], encode: Encode, probe: Probe
) -> None:
    """Three encodes are one, byte for byte; keyframes lie on the grid and nowhere else, whatever the cuts."""
    plan = planned(cuts)
    rendition = of_codec(plan, codec)

    made = [encode(plan, [rendition], cuts)[0] for _ in range(3)]

    assert len({digest(path) for path in made}) == 1
    document, scan, _ = probe(made[0])
    assert check_rendition(plan, rendition, document, scan) == ()
    assert scan.keyframes(0) == list(range(0, plan.frames_total, plan.gop_frames))


def test_a_group_makes_what_each_makes_alone(
    cuts: Path, planned: Callable[..., Plan], encode: Encode
) -> None:
    """Renditions that share a process and its decoder have the bytes they would have had by themselves."""
    plan = planned(cuts, codecs=["h264", "av1"], renditions=["90p", "72p"])

    together = encode(plan, plan.renditions, cuts)
    alone = [encode(plan, [rendition], cuts)[0] for rendition in plan.renditions]

    assert len(plan.renditions) == 4
    assert [digest(path) for path in together] == [digest(path) for path in alone]


@pytest.fixture(scope="session")
def hdr10(tools: Binaries, execute: Execute, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of HDR10 that says what display it was graded on."""
    path = tmp_path_factory.mktemp("hdr") / "hdr10.mkv"
    graph = (
        "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,zscale=t=linear:npl=100,"
        "format=gbrpf32le,zscale=p=bt2020:t=smpte2084:m=bt2020nc:r=tv,format=yuv420p10le"
    )
    params = (
        "log-level=error:hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    )
    execute(
        [
            *(tools.ffmpeg, "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=24:d=1"),
            *("-vf", graph, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params, str(path)),
        ]
    )
    return path


@pytest.fixture
def first_frame(tools: Binaries, execute: Execute) -> Callable[[Path], dict[str, Any]]:
    """What ffprobe says of a file's first picture."""

    def show(path: Path) -> dict[str, Any]:
        return dict(json.loads(execute(first_frame_args(tools.ffprobe, str(path), 0)).stdout))

    return show


def test_hdr10_keeps_its_colour_and_its_metadata(
    *,
    tools: Binaries,
    execute: Execute,
    hdr10: Path,
    planned: Callable[..., Plan],
    encode: Encode,
    probe: Probe,
    first_frame: Callable[[Path], dict[str, Any]],
) -> None:
    """HEVC, VP9 and AV1 leave as ten-bit PQ with the tags of BT.2020 and the display's metadata."""
    mastering = read_mastering(first_frame(hdr10))
    plan = planned(hdr10)
    assert mastering is not None
    assert plan.video is not None
    colour = msgspec.structs.replace(plan.video.colour, mastering=mastering)
    plan = msgspec.structs.replace(plan, video=msgspec.structs.replace(plan.video, colour=colour))

    for codec in ("hevc", "vp9", "av1"):
        rendition = of_codec(plan, codec)
        [made] = encode(plan, [rendition], hdr10)
        document, scan, facts = probe(made)
        assert check_rendition(plan, rendition, document, scan) == ()
        assert facts.video is not None
        assert (rendition.name, facts.video.hdr, facts.video.bit_depth) == (f"90p_{codec}_hdr", "hdr10", 10)
        if codec == "hevc":
            assert read_mastering(first_frame(made)) == mastering
        # ffprobe decodes no AV1; FFmpeg itself does.
        shown = [tools.ffmpeg, "-i", str(made), "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-"]
        said = execute(shown).stderr_tail
        assert "MaxCLL=1000, MaxFALL=400" in said
        assert "max_luminance=1000.0" in said


def test_standard_renditions_of_hdr_say_nothing_of_its_display(
    *,
    hdr10: Path,
    planned: Callable[..., Plan],
    encode: Encode,
    first_frame: Callable[[Path], dict[str, Any]],
) -> None:
    """Tone-mapped H.264 and HEVC are BT.709 and carry no HDR metadata."""
    plan = planned(hdr10, codecs=["h264", "hevc"], hdr="sdr")

    for rendition in plan.renditions:
        [made] = encode(plan, [rendition], hdr10)
        [frame] = first_frame(made)["frames"]
        assert frame["color_transfer"] == "bt709"
        kinds = {side["side_data_type"] for side in frame.get("side_data_list", [])}
        assert not kinds & {"Mastering display metadata", "Content light level metadata"}


def test_hdr_kept_where_a_codec_carries_it(hdr10: Path, planned: Callable[..., Plan]) -> None:
    """With H.264 beside it, HEVC is HDR alone; without, it is made in both ranges, unless told to keep."""

    def names(codecs: list[str], hdr: str) -> list[str]:
        return [item.name for item in planned(hdr10, codecs=codecs, hdr=hdr).renditions]

    assert names(["h264", "hevc"], "auto") == ["90p", "90p_hevc_hdr"]
    assert names(["hevc", "av1"], "auto") == ["90p_hevc", "90p_hevc_hdr", "90p_av1_hdr"]
    assert names(["hevc"], "keep") == ["90p_hevc_hdr"]
    assert names(["hevc"], "sdr") == ["90p_hevc"]


@pytest.fixture
def flat(tools: Binaries, execute: Execute, tmp_path: Path) -> Callable[..., Path]:
    """A flat picture of two halves: dark on the left, grey on the right."""

    def make() -> Path:
        path = tmp_path / "flat.mp4"
        graph = "color=s=160x90:r=25:d=1,format=yuv420p,geq=lum='if(lt(X,W/2),40,128)':cb=128:cr=128"
        execute(
            [
                tools.ffmpeg,
                "-loglevel",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                graph,
                "-c:v",
                "libx264",
                str(path),
            ]
        )
        return path

    return make


@pytest.fixture
def lumas(tools: Binaries, execute: Execute) -> Callable[..., bytes]:
    """The first picture of a file, scaled to a grid of so many cells, a byte of luma each."""

    def read(path: Path, wide: int, high: int) -> bytes:
        picture = ["-vf", f"scale={wide}:{high}:flags=area,format=gray", "-frames:v", "1"]
        argv = [tools.ffmpeg, "-loglevel", "error", "-i", str(path), *picture, "-f", "rawvideo", "-"]
        return execute(argv).stdout

    return read


def test_crop(
    flat: Callable[..., Path], planned: Callable[..., Plan], encode: Encode, lumas: Callable[..., bytes]
) -> None:
    """The right half alone: its size, and nothing of the left half's darkness."""
    source = flat()
    plan = planned(
        source, codecs=["h264"], renditions=["90p"], crop={"x": 80, "y": 0, "width": 80, "height": 90}
    )

    [made] = encode(plan, plan.renditions, source)

    assert (plan.renditions[0].width, plan.renditions[0].height) == (80, 90)
    assert min(lumas(made, 4, 1)) > 110


@pytest.mark.parametrize("position", ["top-left", "bottom-right"])
def test_text_watermark(
    position: str,
    *,
    flat: Callable[..., Path],
    planned: Callable[..., Plan],
    encode: Encode,
    lumas: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    """A text with everything that means something to FFmpeg is drawn as it is, in its corner alone."""
    source = flat()
    mark = {"text": "%{n}:'\\[x];", "position": position, "opacity": 1, "scale": 0.15}
    plan = planned(source, codecs=["h264"], renditions=["90p"], watermark=mark)
    assert plan.video is not None
    assert plan.video.watermark is not None
    overlay = tmp_path / "it's a [mark]; 100%.txt"
    overlay.write_bytes(watermark_text(plan.video.watermark))

    [made] = encode(plan, plan.renditions, source, overlay)

    luma = lumas(made, 160, 90)
    rows = [luma[line * 160 : line * 160 + 160] for line in range(90)]
    brightest = {
        "top-left": max(max(row[:78]) for row in rows[:45]),
        "bottom-left": max(max(row[:78]) for row in rows[45:]),
        "top-right": max(max(row[82:]) for row in rows[:45]),
        "bottom-right": max(max(row[82:]) for row in rows[45:]),
    }
    assert [corner for corner, light in brightest.items() if light > 180] == [position]


def test_image_watermark(
    *,
    flat: Callable[..., Path],
    planned: Callable[..., Plan],
    encode: Encode,
    lumas: Callable[..., bytes],
    tools: Binaries,
    execute: Execute,
    tmp_path: Path,
) -> None:
    """A transparent picture is drawn in every rendition of a group, at its opacity, to the last frame."""
    image = tmp_path / "mark.png"
    white = "color=white:s=40x40,format=rgba"
    execute(
        [
            *(tools.ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", white),
            *("-frames:v", "1", "-update", "1", str(image)),
        ]
    )
    source = flat()
    mark = {"image": "marks/logo.png", "position": "centre", "opacity": 0.5, "scale": 0.5}
    plan = planned(source, codecs=["h264"], renditions=["90p", "72p"], watermark=mark)

    for made in encode(plan, plan.renditions, source, image):
        grid = lumas(made, 16, 9)
        middle, corner = grid[4 * 16 + 7], grid[0]
        assert abs(corner - 28) <= 4
        assert 128 <= middle <= 155


def test_a_watermark_without_its_file_is_no_command(
    flat: Callable[..., Path], planned: Callable[..., Plan]
) -> None:
    """A plan that wants a watermark is not encoded without one."""
    plan = planned(flat(), codecs=["h264"], watermark={"text": "draft"})

    with pytest.raises(ValueError, match="watermark"):
        video_args("ffmpeg", plan, plan.renditions, source="s", targets=["t"])


def test_recipes_of_watermarks_differ() -> None:
    """Two texts have two names in a recipe, one text has one."""
    assert Watermark(text="a").recipe_name == Watermark(text="a", opacity=0.1).recipe_name
    assert Watermark(text="a").recipe_name != Watermark(text="b").recipe_name
    assert Watermark(text="a").recipe_name != Watermark(image="a").recipe_name


def test_passes_and_groups_that_cannot_be(cuts: Path, planned: Callable[..., Plan]) -> None:
    """VP9 is encoded alone and in two passes; the others know of none."""
    plan = planned(cuts)
    vp9, av1 = of_codec(plan, "vp9"), of_codec(plan, "av1")

    with pytest.raises(ValueError, match="by itself"):
        video_args("ffmpeg", plan, [vp9, av1], source="s", targets=["a", "b"], pass_number=1, pass_log="p")
    with pytest.raises(ValueError, match="pass None"):
        video_args("ffmpeg", plan, [vp9], source="s", targets=["a"])
    with pytest.raises(ValueError, match="pass 1"):
        video_args("ffmpeg", plan, [av1], source="s", targets=["a"], pass_number=1)


def test_damaging_presets_are_refused(cuts: Path, planned: Callable[..., Plan]) -> None:
    """SVT-AV1's quickest presets mix blocks of neighbouring frames: they are no choice."""
    rendition = msgspec.structs.replace(of_codec(planned(cuts), "av1"), preset=str(SVT_PRESET_MAX + 1))

    with pytest.raises(ValueError, match="damage"):
        encoder_options(rendition, Job(gop_frames=50, colour=Colour()))


def test_a_late_chunk_decodes_a_little_before_it(cuts: Path, planned: Callable[..., Plan]) -> None:
    """A chunk's command seeks, keeps the source's clock and names its frames by their place on the grid."""
    plan = planned(cuts, codecs=["h264"])

    assert plan.video is not None

    argv = video_args(
        "ffmpeg",
        plan,
        plan.renditions,
        source="s",
        targets=["t"],
        chunk=Chunk(number=3, first_frame=300, frames=90),
    )

    graph = argv[argv.index("-filter_complex") + 1]
    assert float(argv[argv.index("-ss") + 1]) == pytest.approx(
        300 * 1001 / 30000 - plan.video.preroll_seconds
    )
    assert {"-copyts", "-start_at_zero", "-noaccurate_seek"} <= set(argv)
    assert "start_time=10.01" in graph
    assert "trim=end_pts=390" in graph
    assert "setpts=PTS-300" in graph
