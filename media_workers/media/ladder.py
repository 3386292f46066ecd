"""The rendition ladder of a source: which sizes, and with how many bits."""

from fractions import Fraction

from media_workers.media.plan import Rendition
from media_workers.media.profiles import Profile


def ladder(
    display_width: int, display_height: int, rate: Fraction, profile: Profile
) -> tuple[Rendition, ...]:
    """Choose the renditions, largest first; never larger than the source, sides always even.

    Args:
        display_width: what a viewer sees, in pixels, after pixel aspect ratio and rotation.
        display_height: likewise.
        rate: output frame rate.
        profile: wishes and encoder settings.
    """
    raise NotImplementedError
