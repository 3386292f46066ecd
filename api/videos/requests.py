"""What all request bodies of the product API have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

PROFILE_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""A name that is also a safe part of a path."""


class Request(BaseModel):
    """Refuses fields it does not know, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)
