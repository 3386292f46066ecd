"""The learned speeds, kept as one small document in the storage that all workers share."""

from collections.abc import Sequence

import msgspec

from media_workers.media.calibration import Calibration, Measured, learned
from media_workers.sdk import TaskContext
from media_workers.storage import MissingKeyError, StorageError

CALIBRATION_KEY = "calibration/encoders.json"
CALIBRATION_BYTES_MAX = 1 << 20


def load_calibration(ctx: TaskContext) -> Calibration:
    """What was learned so far; the start values when that is nothing or cannot be read."""
    try:
        with ctx.resources.storage.open(CALIBRATION_KEY) as file:
            return msgspec.json.decode(file.read(CALIBRATION_BYTES_MAX), type=Calibration)
    except MissingKeyError:
        return Calibration()
    except (StorageError, msgspec.DecodeError) as error:
        ctx.note(f"the learned speeds cannot be read and are taken as unknown: {error}")
        return Calibration()


def learn(ctx: TaskContext, measured: Sequence[Measured]) -> None:
    """Learn from an encode. Two workers at once may lose one lesson, which the next one makes up for."""
    try:
        ctx.resources.storage.put_bytes(
            CALIBRATION_KEY, msgspec.json.encode(learned(load_calibration(ctx), measured))
        )
    except StorageError as error:
        ctx.note(f"the measured speed was not kept: {error}")
