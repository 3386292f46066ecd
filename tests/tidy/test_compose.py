"""docker-compose.yml is sound as far as it can be told without Docker."""

import re
from typing import Any

import pytest
import typer.main
import yaml

from api.cli import app
from tests.tidy.tree import PACKAGES, ROOT

KEYS = {
    "image",
    "pull_policy",
    "build",
    "user",
    "read_only",
    "tmpfs",
    "cap_drop",
    "security_opt",
    "init",
    "restart",
}
KEYS |= {"volumes", "command", "environment", "ports", "healthcheck", "depends_on", "stop_grace_period"}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_its_shape() -> None:
    """A server and a worker, known keys only, one volume that both share and that is declared."""
    assert set(SERVICES) == {"server", "worker"}
    assert {key for service in SERVICES.values() for key in service} <= KEYS
    assert {tuple(service["volumes"]) for service in SERVICES.values()} == {("data:/data",)}
    assert "data" in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_rights_to_spare(name: str) -> None:
    """Not root, nothing writable but the data and a scratch, no capability, no password in the file."""
    service = SERVICES[name]

    assert service["user"].split(":")[0] not in {"", "0", "root"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not re.search("password|secret|api_key|token", yaml.safe_dump(service), re.IGNORECASE)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_its_command_exists(name: str) -> None:
    """What a container runs is a command of ours, with options it has."""
    program, command, *arguments = SERVICES[name]["command"]
    known = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]  # a group

    options = {option for parameter in known.params for option in parameter.opts}

    assert program == "showrunner"
    assert {argument for argument in arguments if argument.startswith("--")} <= options


def test_the_worker_waits_for_the_server() -> None:
    """The server says when it is ready, and the worker starts then."""
    assert "/readyz" in " ".join(SERVICES["server"]["healthcheck"]["test"])
    assert SERVICES["worker"]["depends_on"] == {"server": {"condition": "service_healthy"}}


def test_the_image_holds_what_is_shipped() -> None:
    """Locked requirements and the four packages go into the image, and it runs as the services' user."""
    recipe = SERVICES["server"]["build"]["dockerfile_inline"]

    assert "--require-hashes -r requirements.lock" in recipe
    assert [name for name in PACKAGES if f"COPY {name} {name}" not in recipe] == []
    assert f"USER {SERVICES['server']['user']}" in recipe
    for source in re.findall(r"^COPY (.+) \S+$", recipe, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
