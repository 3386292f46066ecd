"""Rule 12: what a DASH manifest says of its streams."""

from collections.abc import Iterator

from media_workers.media.check_expected import Evidence
from media_workers.media.check_rules import finding
from media_workers.media.codec_names import same_codec
from media_workers.media.presentation import Stream
from media_workers.media.verify import Finding


def check_dash(evidence: Evidence) -> Iterator[Finding]:
    """Content types, languages, codecs and sizes of every representation."""
    for manifest in evidence.manifests:
        for subject in manifest.bare:
            yield finding("dash_attributes_missing", subject, "an adaptation set has no contentType")
        for stream in manifest.streams:
            if evidence.kind_of(stream) in ("audio", "text") and not stream.language:
                yield finding("dash_attributes_missing", stream.subject, "it has no lang")
            yield from _check_stream(evidence, stream)


def _check_stream(evidence: Evidence, stream: Stream) -> Iterator[Finding]:
    init = evidence.init_of(stream)
    if init is None:
        return
    if stream.codecs and not any(same_codec(listed, init.codec) for listed in stream.codecs):
        yield finding(
            "dash_codecs_mismatch",
            stream.subject,
            f"{','.join(stream.codecs)} listed, inside is {init.codec}",
        )
    if init.kind == "vide" and stream.width and (stream.width, stream.height) != (init.width, init.height):
        yield finding(
            "dash_codecs_mismatch",
            stream.subject,
            f"{stream.width}x{stream.height} listed, the picture has {init.width}x{init.height}",
        )
