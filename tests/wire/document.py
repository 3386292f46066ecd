"""Reads the architecture document: its workflow and its worker are taken from it, never retyped.

As a program it is the document's worker at work:

    python -m tests.wire.document SERVER_URL

runs one ConductorWorker per task name of the workflow, and one for `encode_video`, until it is killed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VARIABLE = "SHOWRUNNER_SEED_DOCUMENT"
MANIFEST_URL = "/media/of/the/document/master.m3u8"

Execute = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Document:
    """What the architecture document holds for us.

    Attributes:
        workflow_json: its `video_processing_workflow`, as it is written there.
        worker: its `ConductorWorker` class.
        encode_video: the function that its usage example runs.
    """

    workflow_json: str
    worker: type
    encode_video: Execute

    @property
    def workflow(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.workflow_json)
        return found


def path() -> Path:
    """Where the document lies: beside the repository, unless the environment names another place."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else ROOT / ".." / "shared" / "seed-architecture.md"


def read(text: str) -> Document:
    """Take the workflow and the worker out of the document.

    Raises:
        ValueError: one of them is not in it.
    """
    workflow_json = _block(text, "json", '"video_processing_workflow"')
    names: dict[str, Any] = {}
    # Classes, functions and imports only: the usage lines would poll for ever on import.
    kept = ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef
    tree = ast.parse(_block(text, "python", "class ConductorWorker"))
    tree.body = [statement for statement in tree.body if isinstance(statement, kept)]
    exec(compile(tree, "seed document", "exec"), names)  # noqa: S102 - the document's own code is what is tested
    return Document(
        workflow_json=workflow_json, worker=names["ConductorWorker"], encode_video=names["encode_video"]
    )


def _block(text: str, language: str, holding: str) -> str:
    for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if holding in block:
            return str(block)
    raise ValueError(f"the document has no {language} block with {holding}")


def _execute_functions(document: Document) -> dict[str, Execute]:
    def encode(profile: str) -> Execute:
        return lambda _given: document.encode_video({"videoId": "123", "profile": profile})

    return {
        "validate_input": lambda given: {"valid": True, "videoId": given["videoId"]},
        "encode_1080p": encode("1080p"),
        "encode_720p": encode("720p"),
        "package_hls": lambda _given: {"manifestUrl": MANIFEST_URL},
        "encode_video": document.encode_video,
    }


def main() -> None:
    document = read(path().read_text(encoding="utf-8"))
    for task_type, execute in _execute_functions(document).items():
        worker = document.worker(
            server_url=sys.argv[1], task_type=task_type, worker_id=f"{task_type}-worker-1"
        )
        threading.Thread(target=worker.run, args=(execute,)).start()


if __name__ == "__main__":
    main()
