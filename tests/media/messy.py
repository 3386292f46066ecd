"""Sources as people really send them, each of eight seconds whose frames carry their numbers."""

from fractions import Fraction

import msgspec

from tests.media.frame_codes import coded_source

SECONDS = 8
_X264 = ["-c:v", "libx264", "-preset", "veryfast"]
_PQ = (
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,zscale=t=linear:npl=100,"
    "format=gbrpf32le,zscale=p=bt2020:t=smpte2084:m=bt2020nc:r=tv,format=yuv420p10le"
)
DISPLAY = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1)"


def _hdr(transfer: str, *more: str) -> list[str]:
    tags = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:keyint=50:log-level=error"
    graph = _PQ.replace("smpte2084", transfer)
    params = ":".join([tags, *more])
    return ["-vf", graph, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params]


class Messy(msgspec.Struct, frozen=True, kw_only=True):
    """How a source is made: its pictures' rate, the arguments behind them, the file's suffix.

    A `turned` picture lies on its side, and the file says by how much players turn it.
    """

    suffix: str
    arguments: list[str]
    rate: str = "25"
    width: int = 160
    height: int = 96
    turned: bool = False

    @property
    def source(self) -> list[str]:
        """Input arguments of the numbered pictures."""
        frames = round(Fraction(self.rate) * SECONDS)
        return coded_source(frames=frames, rate=self.rate, width=self.width, height=self.height)


MESSY: dict[str, Messy] = {
    "program_stream": Messy(
        suffix="mpg",
        # With so much noise a picture fills a pack of its own, as in real streams, and has its own timestamp.
        arguments=[
            *("-vf", "scale=160:97,noise=alls=25:allf=t", "-c:v", "mpeg2video", "-q:v", "2", "-bf", "2"),
            *("-f", "vob"),
        ],
    ),
    "transport_stream_b_frames": Messy(
        suffix="ts", arguments=[*_X264, "-bf", "3", "-g", "50", "-f", "mpegts"]
    ),
    "open_gop": Messy(
        suffix="ts",
        arguments=[
            *(*_X264, "-x264-params", "open-gop=1:keyint=50:min-keyint=50:bframes=3:scenecut=0"),
            *("-f", "mpegts"),
        ],
    ),
    "variable_rate": Messy(
        suffix="mp4",
        rate="30",
        arguments=["-vf", "select='not(eq(mod(n,7),3)+between(n,80,97))'", "-fps_mode", "vfr", *_X264],
    ),
    "ntsc": Messy(suffix="mp4", rate="30000/1001", arguments=[*_X264, "-bf", "2"]),
    "odd_sizes": Messy(suffix="mkv", arguments=["-vf", "scale=161:97,format=yuv444p", *_X264, "-g", "40"]),
    "portrait": Messy(suffix="mp4", arguments=["-vf", "transpose=cclock", *_X264], turned=True),
    "interlaced": Messy(
        suffix="mpg",
        rate="50",
        arguments=[
            *("-vf", "tinterlace=interleave_top,noise=alls=25:allf=t", "-c:v", "mpeg2video", "-q:v", "2"),
            *("-flags", "+ildct+ilme", "-f", "vob"),
        ],
    ),
    "anamorphic": Messy(suffix="mp4", width=144, height=116, arguments=["-vf", "setsar=64/45", *_X264]),
    "hdr10": Messy(
        suffix="mp4", arguments=_hdr("smpte2084", "hdr10=1", f"master-display={DISPLAY}", "max-cll=1000,400")
    ),
    "hlg": Messy(suffix="mkv", arguments=_hdr("arib-std-b67")),
    "old_avi": Messy(suffix="avi", arguments=["-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "30"]),
    "late_start": Messy(
        suffix="ts", arguments=[*_X264, "-bf", "2", "-output_ts_offset", "100", "-f", "mpegts"]
    ),
    "fragmented": Messy(
        suffix="mp4", arguments=[*_X264, "-g", "50", "-movflags", "frag_keyframe+empty_moov"]
    ),
    "slides": Messy(
        suffix="mp4", rate="30", arguments=["-vf", "select='not(mod(n,45))'", "-fps_mode", "vfr", *_X264]
    ),
}
