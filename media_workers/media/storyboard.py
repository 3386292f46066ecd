"""The storyboard's WebVTT: which part of which sheet shows which seconds."""

from media_workers.media.stills_plan import StillsPlan


def storyboard_vtt(
    stills: StillsPlan, *, duration_seconds: float, sheet_pattern: str = "sprite-%03d.jpg"
) -> str:
    """Write the cues: contiguous, the last ends at the duration; sheets are numbered from 1.

    Args:
        stills: the plan of the sheets.
        duration_seconds: the title's length.
        sheet_pattern: name of a sheet relative to the text, with one `%03d`.
    """
    per_sheet = stills.columns * stills.rows
    cues = ["WEBVTT"]
    for tile in range(stills.tiles):
        sheet, place = divmod(tile, per_sheet)
        row, column = divmod(place, stills.columns)
        start = tile * stills.interval_seconds
        end = duration_seconds if tile == stills.tiles - 1 else (tile + 1) * stills.interval_seconds
        width, height = stills.tile_width, stills.tile_height
        box = f"{column * width},{row * height},{width},{height}"
        cues.append(f"{_clock(start)} --> {_clock(end)}\n{sheet_pattern % (sheet + 1)}#xywh={box}")
    return "\n\n".join(cues) + "\n"


def _clock(seconds: float) -> str:
    total_ms = round(seconds * 1000)
    minutes, ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}.{ms % 1000:03}"
