"""What a request may say about protection."""

import pytest

from media_workers.media.profiles import PlanError
from media_workers.media.protection import DrmOptions, labels_of, parse_drm


@pytest.mark.parametrize("value", [None, False])
def test_unprotected(value: object) -> None:
    """Null and false ask for a clear title."""
    assert parse_drm(value) is None


@pytest.mark.parametrize("value", [True, {}])
def test_defaults(value: object) -> None:
    """`true` is one copy, cbcs, that all three systems play, without a clear lead."""
    assert parse_drm(value) == DrmOptions(
        scheme="cbcs", systems=("widevine", "playready", "fairplay"), key_source=None, clear_lead_seconds=0
    )


def test_everything_said() -> None:
    """Each option is taken; systems come in one order, once each."""
    options = parse_drm(
        {
            "scheme": "cenc",
            "systems": ["playready", "widevine", "playready"],
            "keySource": "speke",
            "clearLeadSeconds": 6,
        }
    )

    assert options == DrmOptions(
        scheme="cenc", systems=("widevine", "playready"), key_source="speke", clear_lead_seconds=6
    )


def test_cenc_is_not_for_fairplay() -> None:
    """The legacy scheme leaves FairPlay out by itself; `dual` serves all."""
    assert parse_drm({"scheme": "cenc"}) == DrmOptions(scheme="cenc", systems=("widevine", "playready"))
    assert parse_drm({"scheme": "dual"}) == DrmOptions(scheme="dual")


@pytest.mark.parametrize(
    ("value", "path", "accepted"),
    [
        ("yes", "drm", ("scheme", "systems", "keySource", "clearLeadSeconds")),
        ({"key": "00"}, "drm.key", ("scheme", "systems", "keySource", "clearLeadSeconds")),
        ({"scheme": "cbc1"}, "drm.scheme", ("cbcs", "cenc", "dual")),
        ({"scheme": ["cbcs"]}, "drm.scheme", ("cbcs", "cenc", "dual")),
        ({"systems": []}, "drm.systems", ("widevine", "playready", "fairplay")),
        ({"systems": "widevine"}, "drm.systems", ("widevine", "playready", "fairplay")),
        ({"systems": ["clearkey"]}, "drm.systems[0]", ("widevine", "playready", "fairplay")),
        ({"scheme": "cenc", "systems": ["fairplay"]}, "drm.systems", ("widevine", "playready")),
        ({"scheme": "cenc", "systems": ["widevine", "fairplay"]}, "drm.systems", ("widevine", "playready")),
        ({"scheme": "dual", "systems": ["fairplay"]}, "drm.systems", ("widevine", "playready")),
        ({"keySource": "file:///k"}, "drm.keySource", ("internal", "raw", "speke", "widevine")),
        ({"clearLeadSeconds": -1}, "drm.clearLeadSeconds", ()),
        ({"clearLeadSeconds": True}, "drm.clearLeadSeconds", ()),
        ({"clearLeadSeconds": 601}, "drm.clearLeadSeconds", ()),
    ],
)
def test_refused(value: object, path: str, accepted: tuple[str, ...]) -> None:
    """What cannot be is refused with the field's path and what it may hold."""
    with pytest.raises(PlanError) as refused:
        parse_drm(value)

    assert (refused.value.path, refused.value.accepted) == (path, accepted)
    assert str(refused.value).startswith(f"{path}: ")


def test_labels() -> None:
    """A title needs one key a kind of track it has, in one order."""
    assert labels_of(["UHD", "SD", "HD", "SD"], audio=True) == ("AUDIO", "SD", "HD", "UHD")
    assert labels_of(["SD"], audio=False) == ("SD",)
