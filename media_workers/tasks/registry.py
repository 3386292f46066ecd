"""Every task type with its worker and the kind of machine it needs."""

from typing import Literal, get_args

from media_workers.sdk import AnyWorker
from media_workers.tasks.audio import audio
from media_workers.tasks.check import check
from media_workers.tasks.classic import encode_720p, encode_1080p, encode_video, package_hls, validate_input
from media_workers.tasks.cleanup import cleanup
from media_workers.tasks.encode import encode
from media_workers.tasks.gate import gate
from media_workers.tasks.keys import keys
from media_workers.tasks.measure import measure
from media_workers.tasks.package import package
from media_workers.tasks.plan import plan
from media_workers.tasks.preview import preview
from media_workers.tasks.probe_encodes import probe_encodes
from media_workers.tasks.publish import publish
from media_workers.tasks.scan import scan
from media_workers.tasks.stills import stills
from media_workers.tasks.stitch import stitch
from media_workers.tasks.text import text
from media_workers.tasks.validate import validate

ResourceClass = Literal["io", "cpu-small", "cpu-large", "package"]
RESOURCE_CLASSES: tuple[ResourceClass, ...] = get_args(ResourceClass)

_SERVED: tuple[tuple[AnyWorker, ResourceClass], ...] = (
    (validate, "cpu-small"),
    (scan, "cpu-large"),
    (probe_encodes, "cpu-large"),
    (plan, "io"),
    (encode, "cpu-large"),
    (audio, "cpu-small"),
    (text, "cpu-small"),
    (stills, "cpu-small"),
    (preview, "package"),
    (stitch, "cpu-small"),
    (measure, "cpu-small"),
    (gate, "io"),
    (keys, "io"),
    (package, "package"),
    (check, "package"),
    (publish, "io"),
    (cleanup, "io"),
    (validate_input, "cpu-small"),
    (encode_1080p, "cpu-large"),
    (encode_720p, "cpu-large"),
    (encode_video, "cpu-large"),
    (package_hls, "package"),
)

WORKERS: dict[str, AnyWorker] = {item.task_type: item for item, _ in _SERVED}
CLASS_OF: dict[str, ResourceClass] = {item.task_type: kind for item, kind in _SERVED}


def task_types(*, names: frozenset[str] = frozenset(), classes: frozenset[str] = frozenset()) -> list[str]:
    """Task types by name and resource class; an empty set does not narrow.

    Raises:
        ValueError: an unknown name or class; the sentence lists what there is.
    """
    for given, known, what in ((names, WORKERS, "task type"), (classes, RESOURCE_CLASSES, "resource class")):
        unknown = sorted(given - set(known))
        if unknown:
            raise ValueError(f"there is no {what} {unknown[0]!r}; there are: {', '.join(known)}")
    return [
        name
        for name in WORKERS
        if (not names or name in names) and (not classes or CLASS_OF[name] in classes)
    ]
