"""The storyboard's WebVTT: which part of which sheet shows which seconds."""

from media_workers.media.plan import StillsPlan


def storyboard_vtt(
    stills: StillsPlan, *, duration_seconds: float, sheet_pattern: str = "sprite-%03d.jpg"
) -> str:
    """Write the cues: contiguous, the last ends at the duration; sheets are numbered from 1."""
    raise NotImplementedError
