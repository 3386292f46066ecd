"""The engine's settings; nothing else in engine/ reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class EngineSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOWRUNNER_", extra="ignore")

    data: Path = Field(
        Path("showrunner-data"),
        description="Folder of everything this server keeps: database, media, scratch.",
    )
    database: str = Field(
        "", description="Database URL; empty means SQLite in the data folder (showrunner.db)."
    )
    sqlite_synchronous: Literal["FULL", "NORMAL"] = Field(
        "FULL",
        description="FULL: an acknowledged update survives a power failure. NORMAL: it survives a killed process, but the last commits may be lost when the machine loses power.",
    )
