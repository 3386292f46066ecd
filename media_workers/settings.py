"""Settings of a worker process: flags, then SHOWRUNNER_* variables, then these defaults."""

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from media_workers.drm.custody import CustodySettings
from media_workers.drm.speke import SpekeServer
from media_workers.drm.widevine import WidevineServer
from media_workers.media.protection import KeySource


def default_concurrency() -> int:
    """An encoder that makes the same bytes each time keeps about one core busy."""
    return os.cpu_count() or 1


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
        description="encodes at once; as many as there are cores by default",
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
    keys: Path | None = Field(
        default=None,
        description="folder of the wrapped content keys, shared by workers and server, never in the media "
        "folder; DATA/keys, or beside MEDIA, when not set",
    )
    master_key_file: Path | None = Field(
        default=None,
        description="file with the master key that wraps them, mode 0600; KEYS/master.key, made on first "
        "use, when not set",
    )
    key_source: KeySource = Field(
        default="internal",
        description="where keys of protected titles come from when the request does not say: internal, raw, "
        "speke or widevine",
    )
    fairplay_authority: str = Field(
        default="showrunner",
        pattern="^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$",
        description="host or tenant in skd://AUTHORITY/KEY_ID, which FairPlay players ask for each key",
    )
    raw_keys_file: Path | None = Field(
        default=None,
        description="JSON file of mode 0600 with keys by video and label, for the key source raw",
    )
    speke_url: str | None = Field(
        default=None, description="URL of a SPEKE 2 key server (https), for the key source speke"
    )
    speke_token: SecretStr | None = Field(
        default=None, description="bearer token for the SPEKE server; nothing is sent when not set"
    )
    speke_timeout_seconds: float = Field(
        default=20.0, gt=0, le=300, description="how long the SPEKE server may take for an answer, in seconds"
    )
    speke_certificate_file: Path | None = Field(
        default=None, description="PEM certificate; the SPEKE server must then encrypt its keys for it"
    )
    speke_private_key_file: Path | None = Field(
        default=None, description="PEM private key of that certificate, RSA, mode 0600"
    )
    widevine_url: str | None = Field(
        default=None, description="URL of a Widevine key server, for the key source widevine"
    )
    widevine_signer: str | None = Field(
        default=None, description="name that the Widevine provider gave to this signer"
    )
    widevine_signing_key_file: Path | None = Field(
        default=None,
        description="file of mode 0600 that signs requests to the Widevine server: a PEM RSA key, or an AES "
        "key and its vector in hex on one line",
    )
    widevine_policy: str = Field(default="", description="policy that the Widevine server shall apply")
    hardware: str = Field(
        default="",
        pattern=r"^$|^(nvenc|qsv|vaapi|videotoolbox)(,(nvenc|qsv|vaapi|videotoolbox))*$",
        description="graphics cards that may encode, best first, as in nvenc,vaapi; used for titles this "
        "worker plans, where FFmpeg has the encoder and a trial goes well",
    )
    core_hour_price: float = Field(
        default=0.04,
        ge=0,
        le=1000,
        description="what an hour of one core costs you, for the estimates",
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

    @property
    def custody(self) -> CustodySettings:
        """What is decided about content keys. A Widevine server needs all three of its settings."""
        widevine = None
        if self.widevine_url and self.widevine_signer and self.widevine_signing_key_file:
            widevine = WidevineServer(
                url=self.widevine_url,
                signer=self.widevine_signer,
                signing_key_file=self.widevine_signing_key_file,
                policy=self.widevine_policy,
            )
        token = self.speke_token.get_secret_value() if self.speke_token else None
        return CustodySettings(
            root=self.keys_root,
            published=self.media_root,
            master_file=self.master_key_file,
            default_source=self.key_source,
            fairplay_authority=self.fairplay_authority,
            raw_keys_file=self.raw_keys_file,
            speke=SpekeServer(
                url=self.speke_url,
                token=token,
                timeout_seconds=self.speke_timeout_seconds,
                certificate_file=self.speke_certificate_file,
                private_key_file=self.speke_private_key_file,
            )
            if self.speke_url
            else None,
            widevine=widevine,
        )

    @property
    def keys_root(self) -> Path:
        """The key folder; beside the media when only that was named."""
        if self.keys is not None:
            return self.keys
        if self.media is not None and "data" not in self.model_fields_set:
            return self.media.parent / "keys"
        return self.data / "keys"
