"""What README.md tells people to type exists."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from api.cli import app
from media_workers.media.profiles import profile_names
from tests.tidy.tree import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def _lines() -> list[str]:
    """Every use of `showrunner` in a code block or a table."""
    return re.findall(r"^showrunner (.+)$", README, re.MULTILINE) + re.findall(r"`showrunner (.+?)`", README)


def test_commands_and_options_exist() -> None:
    """Each `showrunner` line names a command of ours and options it has."""
    unknown = []
    for line in _lines():
        words = re.sub(r"'[^']*'|#.*", "", line).split()
        command = COMMANDS.get(words[0])
        if command is not None and words[0] == "workflow" and len(words) > 1:
            command = command.commands.get(words[1])
        options = {word for word in words if word.startswith("--")}
        if command is None or not options <= _options(command):
            unknown.append(line)

    assert _lines()
    assert unknown == []


@pytest.mark.parametrize("name", ["demo", "serve", "worker", "up"])
def test_options_in_the_table_exist(name: str) -> None:
    """The options that the table of commands mentions are the command's."""
    [row] = re.findall(rf"^\| `showrunner {name}.*$", README, re.MULTILINE)

    assert set(re.findall(r"`(--[\w-]+)`", row)) <= _options(COMMANDS[name])


def test_every_command_is_in_the_table() -> None:
    """No command is left out."""
    table = "\n".join(line for line in README.splitlines() if line.startswith("|"))

    assert [name for name in COMMANDS if not re.search(rf"`(?:showrunner )?{name}\b", table)] == []


def test_every_profile_is_named() -> None:
    """The profiles are the ones that exist."""
    [named] = re.findall(r"Profiles: `([\w ]+)`", README)

    assert set(named.split()) == set(profile_names())


def test_examples_parse() -> None:
    """Python examples are Python, and links lead to files."""
    for example in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        ast.parse(example)
    links: list[str] = re.findall(r"\]\(([^)#]+)\)", README)

    assert [link for link in links if not Path(ROOT / link).exists()] == []
