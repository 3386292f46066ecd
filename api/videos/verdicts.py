"""What may be found about an upload: the workers' catalogue, as data beside this module.

The API never imports the workers; a test holds both equal.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
from pydantic import Field

from api.videos.models import Answer

__all__ = ["VerdictEntry", "verdict_catalogue"]


class VerdictOutcome(Answer):
    """One way a verdict may turn out; places in braces stand for the file's own numbers."""

    severity: Literal["info", "normalise", "warn", "reject"]
    action: Literal["accept", "normalise", "reject"]
    message: str
    remedy: str | None = None


class VerdictEntry(Answer):
    """One code with what it is about; the usual outcome comes first."""

    code: str
    rows: list[int] = Field(description="Of the table of awkward uploads; empty beside it.")
    about: str
    outcomes: list[VerdictOutcome]


@cache
def verdict_catalogue() -> tuple[VerdictEntry, ...]:
    """Every code, in the table's order."""
    content = (files("api.videos") / "shipped_verdicts.json").read_bytes()
    return tuple(VerdictEntry.model_validate(each) for each in msgspec.json.decode(content))
