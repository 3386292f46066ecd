"""Small titles, really encoded, packaged, checked and published by the workers' own functions."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec

from media_workers.drm.custody import Custody, CustodySettings
from media_workers.media.facts import SourceFacts, facts_from_probe
from media_workers.media.guards import packets_args, probe_args
from media_workers.media.packets import PacketScan
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.protection import ProtectionPlan
from media_workers.media.sound import audio_args
from media_workers.media.video import video_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, run
from media_workers.sdk import Resources, TaskContext
from media_workers.storage import sha256_of
from media_workers.tasks.keys import KeysInput, key_values, keys
from media_workers.tasks.package import PackageInput, PackageOutput, package
from media_workers.tasks.publish import PublishInput, publish
from media_workers.tasks.records import (
    AudioFile,
    EncodedAudio,
    EncodedText,
    EncodedVideo,
    FileRef,
    Provenance,
    TextFile,
    VideoFile,
)
from tests.workers.conftest import Desk

LIMITS = ProcLimits(wall_seconds=120)
VIDEO_ID = "vid_1"
MADE = Provenance(tools={}, worker="w1", inputs=(), cpu_seconds=0.0, wall_seconds=0.0)
SECONDS = 4.6
SOURCE = (
    f"-f lavfi -i testsrc2=s=320x180:r=25:d={SECONDS} -f lavfi -i sine=d={SECONDS}:r=48000 "
    f"-f lavfi -i sine=f=660:d={SECONDS}:r=48000 -map 0 -map 1 -map 2 -c:v libx264 -preset ultrafast "
    "-c:a aac -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra"
)
VTT = "WEBVTT\n\n00:00.200 --> 00:01.500\nHello\n\n00:02.500 --> 00:03.500\n{word}\n"


@dataclass
class Title:
    """A title whose parts are encoded; it can be packaged in many ways."""

    desk: Desk
    plan: Plan
    videos: tuple[VideoFile, ...]
    audios: tuple[AudioFile, ...]
    texts: tuple[TextFile, ...]
    stills: str | None = None

    def protect(self, drm: Mapping[str, Any]) -> ProtectionPlan:
        job = KeysInput(video_id=VIDEO_ID, drm=dict(drm), plan=self.plan)
        protection = keys(job, self.desk.context()).protection
        assert protection is not None
        return protection

    def key_values(self, protection: ProtectionPlan) -> dict[str, bytes]:
        return dict(key_values(self.desk.context(), VIDEO_ID, protection))

    def package(self, protection: ProtectionPlan | None = None, **changes: Any) -> PackageOutput:
        given: dict[str, Any] = {"plan": self.plan, "renditions": self.videos, "audio": self.audios}
        given |= {"text": self.texts, "stills": self.stills, "protection": protection, **changes}
        return package(PackageInput(video_id=VIDEO_ID, **given), self.desk.context())

    def publish(self, packaged: PackageOutput, version: str) -> Path:
        """The folder of the published version."""
        job = PublishInput(video_id=VIDEO_ID, package=packaged.artefact, stills=self.stills, version=version)
        return self.desk.media / publish(job, self.desk.context()).prefix


class Studio:
    """Encodes titles; its desk has a key store."""

    def __init__(self, root: Path, tools: Binaries) -> None:
        self.root, self.tools = root, tools
        self.desk = Desk(root, tools)
        custody = Custody(CustodySettings(root=root / "keys", published=root / "media"))
        resources = self.desk.resources
        self.desk.resources = Resources(
            storage=resources.storage, scratch=resources.scratch, binaries=tools, keys=custody
        )
        self._titles = 0
        self._files = root

    def title(
        self,
        *,
        overrides: Mapping[str, Any] | None = None,
        source: str = SOURCE,
        texts: tuple[str, ...] = ("eng", "fra"),
        profile: str = "fast",
        change: Callable[[Plan], Plan] | None = None,
    ) -> Title:
        """Encode a title with a keyframe each second and segments of two, the last one shorter."""
        self._titles += 1
        self._files = self.root / f"encoded_{self._titles}"
        self._files.mkdir()
        clip = self._made("source.mkv", source)
        plan = make_plan(self._facts(clip), resolve_profile(profile, dict(overrides or {})))
        gop = round(plan.rate)
        plan = msgspec.structs.replace(
            plan,
            gop_frames=gop,
            segment_frames=2 * gop,
            segment_seconds=round(float(2 * gop / Fraction(plan.rate)), 6),
            quality=None,
        )
        plan = change(plan) if change else plan
        return Title(
            desk=self.desk,
            plan=plan,
            videos=tuple(self._video(plan, item.name, clip) for item in plan.renditions),
            audios=tuple(self._audio(plan, item.name, clip) for item in plan.audio),
            texts=tuple(self._text(number, language) for number, language in enumerate(texts)),
            stills=self._stills(plan),
        )

    @contextmanager
    def context(self) -> Iterator[TaskContext]:
        """What tools run in."""
        yield self.desk.context()

    def close(self) -> None:
        self.desk.close()

    def _video(self, plan: Plan, name: str, clip: Path) -> VideoFile:
        rendition = next(item for item in plan.renditions if item.name == name)
        target = self._files / f"{name}.mp4"
        passes: list[dict[str, Any]] = [{}]
        if rendition.encoder == "libvpx-vp9":
            log = str(self._files / name)
            passes = [{"pass_log": log, "pass_number": number} for number in (1, 2)]
        for options in passes:
            argv = video_args(
                self.tools.ffmpeg, plan, [rendition], source=str(clip), targets=[str(target)], **options
            )
            run(argv, limits=LIMITS).check(name)
        video = EncodedVideo(
            rendition=name,
            codec=rendition.codec,
            width=rendition.width,
            height=rendition.height,
            frame_rate=plan.frame_rate,
            frames=plan.frames_total,
            duration_seconds=plan.duration_seconds,
            average_bitrate=0,
            encode_seconds=0.0,
            provenance=MADE,
        )
        return VideoFile(video=video, file=self._stored(target))

    def _audio(self, plan: Plan, name: str, clip: Path) -> AudioFile:
        track = next(item for item in plan.audio if item.name == name)
        target = self._files / f"{name}.mp4"
        argv = audio_args(self.tools.ffmpeg, track, source=str(clip), target=str(target), measured=None)
        run(argv, limits=LIMITS).check(name)
        audio = EncodedAudio(
            track=name,
            codec=track.codec,
            language=track.language,
            channels=track.channels,
            duration_seconds=plan.duration_seconds,
            average_bitrate=0,
            loudness_lufs=None,
            provenance=MADE,
        )
        return AudioFile(audio=audio, file=self._stored(target))

    def _text(self, number: int, language: str) -> TextFile:
        path = self._files / f"text_{number}.vtt"
        path.write_text(VTT.format(word=language))
        file = self._stored(path)
        text = EncodedText(
            index=number,
            language=language,
            label=language.upper(),
            kind="captions" if number == 0 else "subtitles",
            forced=number == 1,
            sdh=number == 0,
            cues=2,
            file=file,
        )
        return TextFile(text=text, file=file)

    def _stills(self, plan: Plan) -> str | None:
        """An artefact with sheets of the planned size; what is on them is for other tests."""
        if plan.stills is None:
            return None
        folder = self.root / "stills"
        folder.mkdir(exist_ok=True)
        size = f"{plan.stills.tile_width * plan.stills.columns}x{plan.stills.tile_height * plan.stills.rows}"
        for number in range(1, plan.stills.sheets + 1):
            target = str(folder / f"sprite-{number:03d}.jpg")
            argv = ["-loglevel", "error", "-f", "lavfi", "-i", f"testsrc2=s={size}", "-frames:v", "1", target]
            run([self.tools.ffmpeg, *argv], limits=LIMITS).check("sheet")
        artefact, _ = self.desk.resources.artefacts.commit(
            VIDEO_ID, f"stills-{number}", folder, kind="stills", facts=None
        )
        return artefact.prefix

    def _stored(self, path: Path) -> FileRef:
        key = f"work/{self._titles}/{path.name}"
        self.desk.storage.put_file(key, path)
        return FileRef(key=key, size=path.stat().st_size, sha256=sha256_of(path))

    def _made(self, name: str, recipe: str) -> Path:
        path = self._files / name
        argv = [self.tools.ffmpeg, "-loglevel", "error", "-y", *recipe.split(" "), str(path)]
        run(argv, limits=LIMITS).check(name)
        return path

    def _facts(self, path: Path) -> SourceFacts:
        probed = run(probe_args(self.tools.ffprobe, str(path)), limits=LIMITS).check("probe")
        scan = PacketScan()
        run(packets_args(self.tools.ffprobe, str(path)), limits=LIMITS, on_line=scan.feed).check("scan")
        return facts_from_probe(
            json.loads(probed.stdout),
            size_bytes=path.stat().st_size,
            packets=scan,
            stderr=probed.stderr_tail,
        )
