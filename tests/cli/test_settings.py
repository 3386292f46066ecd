"""Settings: their order, their documentation, their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.settings import (
    WORKER_SETTINGS,
    ServerSettings,
    SettingsError,
    engine_settings,
    listing,
    load,
    worker_environment,
)
from engine.settings import EngineSettings
from media_workers.settings import WorkerSettings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "HOST", "CONFIG", "DATA", "FFMPEG", "DATABASE", "WORKER_API_KEY"):
        monkeypatch.delenv(f"SHOWRUNNER_{name}", raising=False)
    return tmp_path


def test_flags_before_environment_before_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source wins over the ones after it, and the listing says which one won."""
    seen: list[tuple[int, str]] = []

    def note(flags: dict[str, object]) -> None:
        source = next(each.source for each in listing(flags) if each.name == "port")
        seen.append((load(flags).port, source))

    note({})
    (folder / "showrunner.toml").write_text("port = 1001\n")
    note({})
    monkeypatch.setenv("SHOWRUNNER_PORT", "1002")
    note({"port": None})
    note({"port": 1003})

    assert seen == [(8080, "default"), (1001, "showrunner.toml"), (1002, "environment"), (1003, "flag")]


def test_every_setting_is_documented() -> None:
    """All settings of server, engine and workers are listed with a description that is a sentence."""
    shown = {each.name: each for each in listing()}

    assert set(ServerSettings.model_fields) | set(WorkerSettings.model_fields) == set(shown)
    assert set(EngineSettings.model_fields) <= set(shown)
    assert all(each.description.endswith(".") for each in shown.values())
    assert not set(WORKER_SETTINGS) & set(ServerSettings.model_fields)


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a key nor the password in a database URL is shown."""
    monkeypatch.setenv("SHOWRUNNER_WORKER_API_KEY", "sr_secret")
    monkeypatch.setenv("SHOWRUNNER_DATABASE", "postgresql://user:hunter2@db/x")

    shown = {each.name: each.value for each in listing()}

    assert shown["worker_api_key"] == "********"
    assert shown["database"] == "postgresql://user:********@db/x"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("prot = 1\n", "there is no setting 'prot'"),
        ("port = 99999\n", r"setting port \(from showrunner.toml\)"),
        ("port =\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_sentence(folder: Path, content: str, sentence: str) -> None:
    """The sentence names the file or the setting."""
    (folder / "showrunner.toml").write_text(content)

    with pytest.raises(SettingsError, match=sentence):
        load()


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """SHOWRUNNER_CONFIG that names nothing is an error, not a silent default."""
    monkeypatch.setenv("SHOWRUNNER_CONFIG", "/nowhere/x.toml")

    with pytest.raises(SettingsError, match=r"/nowhere/x\.toml"):
        load()


def test_workers_get_what_the_file_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the file reach worker processes; the environment wins over them."""
    (folder / "showrunner.toml").write_text('ffmpeg = "/opt/ffmpeg"\nio_slots = 2\n')
    monkeypatch.setenv("SHOWRUNNER_IO_SLOTS", "7")

    handed_on = worker_environment()

    assert handed_on["SHOWRUNNER_FFMPEG"] == "/opt/ffmpeg"
    assert handed_on["SHOWRUNNER_IO_SLOTS"] == "7"


def test_the_engine_gets_its_part() -> None:
    """What flags say about the engine's settings arrives there."""
    settings = load({"data": Path("elsewhere"), "sqlite_synchronous": "NORMAL"})

    assert engine_settings(settings).data == Path("elsewhere")
    assert engine_settings(settings).sqlite_synchronous == "NORMAL"
