"""Settings of a worker process: flags, then SHOWRUNNER_* variables, then these defaults."""

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_concurrency() -> int:
    """An encoder keeps about two cores busy."""
    return max(1, (os.cpu_count() or 2) // 2)


class WorkerSettings(BaseSettings):
    """Everything a worker process can be told."""

    model_config = SettingsConfigDict(env_prefix="SHOWRUNNER_", extra="ignore")

    server: str = Field(
        default="http://127.0.0.1:8080", description="URL of the server to work for, with or without /api"
    )
    worker_api_key: SecretStr | None = Field(
        default=None, description="API key sent to the server as a bearer token; needs the scope `worker`"
    )
    data: Path = Field(
        default=Path("showrunner-data"),
        description="data folder; holds the media and the scratch space when they are not named",
    )
    media: Path | None = Field(
        default=None, description="media folder shared with the server; DATA/media when not set"
    )
    scratch: Path | None = Field(
        default=None,
        description="folder for unfinished work on a local disk; DATA/scratch, or beside MEDIA, when not set",
    )
    concurrency: int = Field(
        default_factory=default_concurrency,
        ge=1,
        le=256,
        description="encodes at once; half the cores by default",
    )
    io_slots: int = Field(
        default=4,
        ge=1,
        le=256,
        description="light tasks at once (plan, publish, clean up), beside the encodes",
    )
    domain: str | None = Field(default=None, description="serve only tasks of this domain")
    ffmpeg: str | None = Field(default=None, description="FFmpeg to use instead of the one installed with us")
    ffprobe: str | None = Field(
        default=None, description="ffprobe to use instead of the one installed with us"
    )
    packager: str | None = Field(
        default=None, description="Shaka Packager to use instead of the one installed with us"
    )
    long_poll_ms: int = Field(
        default=5000, ge=0, le=5000, description="how long a poll waits for a task, in milliseconds"
    )
    log_format: str = Field(
        default="auto",
        pattern="^(auto|json|console)$",
        description="json, console, or auto: console on a terminal, json elsewhere",
    )

    @property
    def media_root(self) -> Path:
        """The media folder."""
        return self.media or self.data / "media"

    @property
    def scratch_root(self) -> Path:
        """The scratch folder; beside the media when only that was named."""
        if self.scratch is not None:
            return self.scratch
        if self.media is not None and "data" not in self.model_fields_set:
            return self.media.parent / "scratch"
        return self.data / "scratch"
