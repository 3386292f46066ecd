"""media_keys: which keys protect a title. Only their ids leave here; values go to the packager alone."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from media_workers.drm.custody import Custody
from media_workers.drm.errors import DrmError
from media_workers.drm.secret_file import secret_file
from media_workers.media.plan import Plan
from media_workers.media.profiles import PlanError
from media_workers.media.protection import CopyScheme, ProtectionPlan, labels_of, parse_drm
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.tasks.plan import load_plan


class KeysInput(Record, frozen=True, kw_only=True):
    """Input of media_keys: the request's `drm`, and the plan that says which tracks there are.

    `key_version` None takes the one that the key store holds as current.
    """

    video_id: str
    drm: dict[str, Any] | bool | None = None
    plan_key: str | None = None
    plan: Plan | None = None
    key_version: int | None = None


class KeysOutput(Record, frozen=True, kw_only=True):
    """Output of media_keys: the protection, None for a title without."""

    protection: ProtectionPlan | None


@worker("media_keys")
def keys(job: KeysInput, ctx: TaskContext) -> KeysOutput:
    """Give a title its keys. Safe to repeat: the same title and key version has the same keys."""
    try:
        options = parse_drm(job.drm)
    except PlanError as error:
        raise TaskRejected("invalid_options", str(error)) from error
    if options is None:
        return KeysOutput(protection=None)
    plan = _plan(job, ctx)
    labels = labels_of((item.drm_label for item in plan.renditions), audio=bool(plan.audio))
    with _told():
        protection = _custody(ctx).protect(job.video_id, options, labels, key_version=job.key_version)
    ctx.note(
        f"keys of version {protection.key_version} from {protection.key_source}: "
        + (", ".join(f"{key.label} {key.key_id}" for key in protection.keys) or "known to its server alone")
    )
    return KeysOutput(protection=protection)


def key_values(ctx: TaskContext, video_id: str, protection: ProtectionPlan) -> Mapping[str, bytes]:
    """The values of a title's keys, 16 bytes by key id; for use inside this process alone.

    Raises:
        TaskFailed, TaskRejected: a key is not there, or the key store cannot be used.
    """
    with _told():
        return _custody(ctx).values(video_id, protection, reader=ctx.worker_id, purpose="checking")


@contextlib.contextmanager
def protection_flagfile(
    ctx: TaskContext, video_id: str, protection: ProtectionPlan, copy: CopyScheme, folder: Path
) -> Iterator[str]:
    """Lend the packager its secrets while it runs: name the path with `--flagfile=`.

    The path is another in every run and belongs into no recipe and no provenance.

    Args:
        ctx: whose worker asks.
        video_id: the title.
        protection: from media_keys.
        copy: which of its copies is packaged.
        folder: the task's scratch folder, outside of the package.

    Raises:
        TaskFailed, TaskRejected: a key is not there, or a setting is missing.
    """
    with _told():
        text = _custody(ctx).flagfile_text(video_id, protection, copy, reader=ctx.worker_id)
    with secret_file(text, folder) as path:
        yield path


def drop_keys(ctx: TaskContext, video_id: str) -> None:
    """Forget all keys of a deleted title; nothing there is fine.

    Raises:
        TaskFailed, TaskRejected: the key store cannot be used.
    """
    with _told():
        _custody(ctx).store.delete(video_id)


def _plan(job: KeysInput, ctx: TaskContext) -> Plan:
    if job.plan is not None:
        return job.plan
    if job.plan_key is None:
        raise TaskRejected("invalid_input", "input field planKey is missing; it names the stored plan")
    return load_plan(ctx, job.plan_key)


def _custody(ctx: TaskContext) -> Custody:
    custody = ctx.resources.keys
    if custody is None:
        raise TaskFailed(
            "key_store_unusable", "this worker has no key store; name a folder with SHOWRUNNER_KEYS"
        )
    return custody


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Failures of key custody as the task's own."""
    try:
        yield
    except DrmError as error:
        kind = TaskFailed if error.retryable else TaskRejected
        raise kind(error.code, str(error)) from error
