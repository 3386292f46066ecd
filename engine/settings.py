"""The engine's settings; nothing else in engine/ reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.adapters.calls.addresses import parse_networks


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
        description="FULL: an acknowledged update survives a power failure. NORMAL: it survives a killed "
        "process, but the last commits may be lost when the machine loses power.",
    )
    expression_environment: str = Field(
        "HOME,HOSTNAME,LANG,PATH,TZ,USER",
        description="Names of environment variables that expressions such as ${HOME} may read, separated by "
        "commas. Others stay unseen, since a server's environment holds its secrets.",
    )
    retention_hours: float = Field(
        0,
        ge=0,
        description="Workflows that ended so many hours ago are deleted, a few at a time; 0 keeps them all.",
    )
    idempotency_strategy: Literal["", "FAIL", "RETURN_EXISTING", "FAIL_ON_RUNNING"] = Field(
        "",
        description="What a start with an idempotencyKey and no idempotencyStrategy means. Empty: the key is "
        "kept and nothing more, as on a Conductor server.",
    )
    secrets_key: SecretStr = Field(
        SecretStr(""),
        description="Key that seals stored secrets; a long random text. Several, separated by commas: the "
        "first seals, all of them open. Empty: secrets come from CONDUCTOR_SECRET_ variables only.",
    )

    strict_definitions: bool = Field(
        False,
        description="Refuse workflow definitions that can be run but look wrong: what POST "
        "/api/metadata/workflow/validate warns of. Names nobody registered yet are no reason.",
    )

    http_task_networks: str = Field(
        "",
        description="Networks that HTTP tasks may reach, such as 10.0.0.0/8,127.0.0.0/8. Empty: every "
        "address but link-local and metadata ones, which are always refused.",
    )

    events_redis: SecretStr = Field(
        SecretStr(""),
        description="URL of the Redis whose streams carry events named redis:STREAM, such as "
        "redis://HOST:6379/0 (extra: redis).",
    )
    events_sqs: str = Field(
        "",
        description="AWS region whose SQS queues carry events named sqs:QUEUE; credentials come from where "
        "AWS's own tools take them (extra: sqs).",
    )
    events_sqs_endpoint: str = Field(
        "", description="URL of another server that speaks SQS; empty for AWS itself."
    )
    events_kafka: str = Field(
        "",
        description="Servers (HOST:PORT, separated by commas) of the Kafka whose topics carry events named "
        "kafka:TOPIC (extra: kafka).",
    )
    events_group: str = Field(
        "showrunner",
        description="Consumer group on Redis and Kafka. Servers of one database share it; another "
        "installation on the same broker needs its own.",
    )

    payloads: str = Field(
        "",
        description="Where clients put inputs and outputs that are too large for a request: "
        "s3://BUCKET/PREFIX (extra: s3), or empty for the data folder. Servers that share a database but "
        "no data folder need S3.",
    )
    payloads_s3_region: str = Field(
        "", description="AWS region of that bucket; empty for the one that AWS's own tools would take."
    )
    payloads_s3_endpoint: str = Field(
        "",
        description="URL of another server that speaks S3, as clients reach it, too; empty for AWS itself.",
    )
    payloads_keep_hours: float = Field(
        24,
        ge=0,
        description="Payloads are deleted so many hours after they were put there; workflows have taken over "
        "by then what they need. 0 keeps them all.",
    )

    @field_validator("http_task_networks")
    @classmethod
    def _networks(cls, value: str) -> str:
        parse_networks(value)
        return value

    workflow_listener: str = Field(
        "",
        description="Where workflows with workflowStatusListenerEnabled report that name no sink: a URL that "
        "gets a POST of the workflow's summary, or an event queue such as conductor:NAME. Empty: nowhere.",
    )

    def environment(self) -> dict[str, str]:
        """What expressions may read: the names above, and CONDUCTOR_ENV_X as `workflow.env.X`."""
        listed = {name.strip() for name in self.expression_environment.split(",")}
        found = {name: value for name, value in os.environ.items() if name in listed}
        for name, value in os.environ.items():
            if name.startswith(STORED_PREFIX):
                found[f"workflow.env.{name.removeprefix(STORED_PREFIX)}"] = value
        return found

    @staticmethod
    def fixed_secrets() -> dict[str, str]:
        """Secrets given with the process: CONDUCTOR_SECRET_X is `workflow.secrets.X`."""
        found = {name: value for name, value in os.environ.items() if name.startswith(SECRET_PREFIX)}
        return {name.removeprefix(SECRET_PREFIX): value for name, value in found.items()}


STORED_PREFIX = "CONDUCTOR_ENV_"
SECRET_PREFIX = "CONDUCTOR_SECRET_"  # noqa: S105 - a prefix of names, no secret itself
