"""The watermark's file: what the plan asks for, as a path that FFmpeg can read."""

from pathlib import Path

from media_workers.media.plan import Plan
from media_workers.sdk import TaskContext, TaskRejected
from media_workers.storage import KeyRefusedError, MissingKeyError, sha256_of

TEXT_NAME = "watermark.txt"


def overlay_path(ctx: TaskContext, plan: Plan, folder: Path) -> str | None:
    """The file to draw: the stored image, or the text written into `folder`; None for a plan without.

    Raises:
        TaskRejected: `watermark_missing`: the image is not in the storage.
    """
    mark = plan.video.watermark if plan.video is not None else None
    if mark is None:
        return None
    if mark.image is not None:
        return str(_image(ctx, mark.image))
    path = folder / TEXT_NAME
    path.write_text(mark.text or "", encoding="utf-8")
    return str(path)


def overlay_recipe(ctx: TaskContext, plan: Plan) -> str | None:
    """What stands for the file in a recipe: another text, or another image under the same key, is another.

    Raises:
        TaskRejected: `watermark_missing`.
    """
    mark = plan.video.watermark if plan.video is not None else None
    if mark is None:
        return None
    content = "" if mark.image is None else f"-{sha256_of(_image(ctx, mark.image))[:16]}"
    return mark.recipe_name + content


def _image(ctx: TaskContext, key: str) -> Path:
    try:
        return ctx.resources.storage.local_path(key)
    except (MissingKeyError, KeyRefusedError) as error:
        raise TaskRejected(
            "watermark_missing", f"overrides.watermark.image: there is no file {key!r} in the media store"
        ) from error
