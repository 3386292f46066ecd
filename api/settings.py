"""Everything this installation can be told: flags, SHOWRUNNER_* variables, showrunner.toml, defaults.

`ServerSettings` is what the server and the command line read. `WORKER_SETTINGS` documents what the worker
processes read for themselves; values of showrunner.toml reach them through their environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from api.failures import UsageError
from engine.settings import EngineSettings

PREFIX = "SHOWRUNNER_"
FILE_VARIABLE = PREFIX + "CONFIG"
FILE_NAME = "showrunner.toml"
MASK = "********"

Source = Literal["flag", "environment", "showrunner.toml", "default"]


class SettingsError(UsageError):
    """A setting cannot be used; the sentence names it and where it comes from."""


class ServerSettings(EngineSettings):
    """Settings of the server and the command line; those of the engine are among them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address the server listens on.")
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port the server listens on; 0 takes a free one."
    )
    public_url: str = Field(
        default="",
        description="Address that clients see, as https://video.example; empty: that of each request.",
    )
    insecure: bool = Field(
        default=False,
        description="Listen beyond loopback without API keys: everybody there may do everything.",
    )
    media: Path | None = Field(
        default=None, description="Media folder shared with the workers; DATA/media when not set."
    )
    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Server processes that share the port; more than one need a PostgreSQL database.",
    )
    drain_ms: int = Field(
        default=0,
        ge=0,
        le=600_000,
        description="After SIGTERM the server serves on for so many milliseconds while /readyz says 503, so "
        "that load balancers turn away first.",
    )
    with_workers: bool = Field(
        default=False, description="Start a worker process beside the server and stop it with it."
    )
    upload_bytes_max: int = Field(
        default=64 << 30, ge=1, description="Largest file that can be uploaded, in bytes (64 GiB)."
    )
    upload_idle_ms_max: int = Field(
        default=60_000,
        ge=100,
        description="An upload that sends nothing for so many milliseconds is dropped.",
    )
    disk_free_bytes_min: int = Field(
        default=256 << 20,
        ge=0,
        description="Bytes an upload leaves free on the media disk (256 MiB), for database and workers.",
    )
    server: str = Field(
        default="http://127.0.0.1:8080",
        description="URL of the server that workers and the command line talk to.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console on a terminal, json elsewhere."
    )

    @property
    def media_root(self) -> Path:
        """The media folder."""
        return self.media or self.data / "media"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before environment before file."""
        listed = {name: value for name, value in read_file().items() if name in settings_cls.model_fields}
        return init_settings, env_settings, InitSettingsSource(settings_cls, listed)


WORKER_SETTINGS: dict[str, str] = {
    "worker_api_key": "API key that workers send to the server.",
    "scratch": "Folder of the workers for unfinished work, on a local disk; DATA/scratch when not set.",
    "concurrency": "Encodes at once in a worker process; as many as there are cores when not set.",
    "io_slots": "Light tasks at once in a worker process, beside the encodes; 4 when not set.",
    "domain": "Workers serve only tasks of this domain.",
    "ffmpeg": "FFmpeg to use instead of the one installed with Showrunner.",
    "ffprobe": "ffprobe to use instead of the one installed with Showrunner.",
    "packager": "Shaka Packager to use instead of the one installed with Showrunner.",
    "keys": "Folder of the wrapped content keys, never in the media folder; DATA/keys when not set.",
    "master_key_file": "File with the master key that wraps them, mode 0600; KEYS/master.key when not set.",
    "key_source": "Where keys come from when a request does not say: internal, raw, speke or widevine.",
    "fairplay_authority": "Host or tenant in skd://AUTHORITY/KEY_ID; showrunner when not set.",
    "raw_keys_file": "JSON file of mode 0600 with keys by video and label, for the key source raw.",
    "speke_url": "URL of a SPEKE 2 key server (https), for the key source speke.",
    "speke_token": "Bearer token for the SPEKE server.",
    "speke_timeout_seconds": "How long the SPEKE server may take for an answer; 20 when not set.",
    "speke_certificate_file": "PEM certificate; the SPEKE server must then encrypt its keys for it.",
    "speke_private_key_file": "PEM private key of that certificate, RSA, mode 0600.",
    "widevine_url": "URL of a Widevine key server, for the key source widevine.",
    "widevine_signer": "Name that the Widevine provider gave to this signer.",
    "widevine_signing_key_file": "File of mode 0600 that signs requests to the Widevine server.",
    "widevine_policy": "Policy that the Widevine server shall apply.",
    "hardware": "Graphics cards that may encode, best first, as in nvenc,vaapi; none when not set.",
    "core_hour_price": "What an hour of one core costs you, for the estimates; 0.04 when not set.",
    "long_poll_ms": "How long a worker's poll waits for a task, in milliseconds; 5000 when not set.",
}
"""Name -> description of what only worker processes read."""

_SECRETS = frozenset({"worker_api_key", "speke_token"})


class Setting(Struct, kw_only=True, frozen=True):
    """A setting as it is shown: secrets are masked in `value`."""

    name: str
    value: str
    source: Source
    variable: str
    description: str


def config_path() -> Path:
    """The settings file: SHOWRUNNER_CONFIG, else showrunner.toml in the working folder."""
    return Path(os.environ.get(FILE_VARIABLE) or FILE_NAME)


def read_file() -> dict[str, Any]:
    """What the settings file says; nothing when there is none.

    Raises:
        SettingsError: it cannot be read, or names a setting that does not exist.
    """
    path = config_path()
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get(FILE_VARIABLE):
            raise SettingsError(f"{FILE_VARIABLE} names {path}, and there is no such file") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error}") from error
    for name in listed:
        if name not in ServerSettings.model_fields and name not in WORKER_SETTINGS:
            raise SettingsError(f"{path}: there is no setting {name!r}; `showrunner settings` lists them")
    return listed


def load(flags: Mapping[str, Any] | None = None) -> ServerSettings:
    """The settings in force.

    Args:
        flags: what the command line said; None values count as not said.

    Raises:
        SettingsError: a value cannot be used.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return ServerSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = _source(name.lower(), given, read_file())
        message = str(first["msg"])
        raise SettingsError(f"setting {name} (from {where}): {message[:1].lower()}{message[1:]}") from error


def listing(flags: Mapping[str, Any] | None = None) -> list[Setting]:
    """Every setting with value, source and description, sorted by name.

    Raises:
        SettingsError: a value cannot be used.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    settings, file = load(given), read_file()
    shown = [
        Setting(
            name=name,
            value=_shown(name, getattr(settings, name)),
            source=_source(name, given, file),
            variable=PREFIX + name.upper(),
            description=field.description or "",
        )
        for name, field in ServerSettings.model_fields.items()
    ]
    for name, description in WORKER_SETTINGS.items():
        value = _variable(name) if _variable(name) is not None else file.get(name)
        shown.append(
            Setting(
                name=name,
                value=_shown(name, value),
                source=_source(name, given, file),
                variable=PREFIX + name.upper(),
                description=description,
            )
        )
    return sorted(shown, key=lambda setting: setting.name)


def worker_environment() -> dict[str, str]:
    """The environment of a worker process: ours, completed by what the settings file says."""
    from_file = {PREFIX + name.upper(): str(value) for name, value in read_file().items()}
    return {**from_file, **os.environ}


def engine_settings(settings: ServerSettings) -> EngineSettings:
    """The engine's part."""
    return EngineSettings(**{name: getattr(settings, name) for name in EngineSettings.model_fields})


def _variable(name: str) -> str | None:
    wanted = PREFIX + name.upper()
    return next((value for key, value in os.environ.items() if key.upper() == wanted), None)


def _source(name: str, flags: Mapping[str, Any], file: Mapping[str, Any]) -> Source:
    if name in flags:
        return "flag"
    if _variable(name) is not None:
        return "environment"
    return "showrunner.toml" if name in file else "default"


def _shown(name: str, value: object) -> str:
    if value is None or value == "":
        return ""
    if name in _SECRETS or isinstance(value, SecretStr):
        return MASK
    text = str(value)
    password = urlsplit(text).password if "://" in text else None
    return text.replace(f":{password}@", f":{MASK}@") if password else text
