"""What a step may look at. The core never loads: it names the facts it lacks and is called again."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from engine.core.graph import Graph
from engine.core.records import EMPTY_OBJECT, Header, QueueEntry, Task


class TaskFact(Struct, frozen=True):
    task_id: str


class LatestFact(Struct, frozen=True):
    """The newest task of a base reference."""

    base_ref: str


class RefsFact(Struct, frozen=True):
    """The newest task of each full reference."""

    refs: tuple[str, ...]


class OpenTasksFact(Struct, frozen=True):
    """All SCHEDULED and IN_PROGRESS tasks."""


class EntriesFact(Struct, frozen=True):
    """The queue entries of the workflow: who has its open tasks, and since when."""


class AllTasksFact(Struct, frozen=True):
    """The whole task list; only operations on the whole workflow ask for it."""


class LoopTasksFact(Struct, frozen=True):
    """Every task of one DO_WHILE's iterations; asked for by its end or a condition on its whole output."""

    loop_ref: str


class ScriptFact(Struct, frozen=True):
    """The result of a script: `bindings` is the JSON of what it sees as `$`."""

    language: str
    source: str
    bindings: bytes


class DefinitionFact(Struct, frozen=True):
    """A registered workflow definition, ready to start; the highest version when None."""

    name: str
    version: int | None


class TaskDefFact(Struct, frozen=True):
    name: str


class DomainsFact(Struct, frozen=True):
    """When the domains of a task type were last polled."""

    task_type: str


class EnvironmentFact(Struct, frozen=True):
    """The stored value of `${workflow.env.NAME}`."""

    name: str


class SchemaFact(Struct, frozen=True):
    """The JSON text of a registered schema."""

    name: str
    version: int


Fact = (
    TaskFact
    | LatestFact
    | RefsFact
    | OpenTasksFact
    | EntriesFact
    | AllTasksFact
    | LoopTasksFact
    | ScriptFact
    | DefinitionFact
    | TaskDefFact
    | DomainsFact
    | EnvironmentFact
    | SchemaFact
)


class FactsMissingError(Exception):
    """The step needs more facts; nothing was decided."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        super().__init__("facts are missing")
        self.facts = tuple(facts)


class ScriptOutcome(Struct, kw_only=True, frozen=True):
    """`error` is None for a value; `timed_out` marks an error that a retry may cure."""

    value: Any = None
    error: str | None = None
    timed_out: bool = False


class View:
    """The facts at hand about one workflow. The shell fills it and may keep it between steps.

    Attributes:
        row_version: version of the stored header; 0 before the workflow exists.
        tasks: tasks loaded so far, by id, as stored.
        latest, refs: newest task id per base reference and per full reference; None = there is none.
        open_known: `tasks` holds every open task. all_known: every task.
    """

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.header: Header | None = None
        self.row_version = 0
        self.graph: Graph | None = None
        self.restart_graph: Graph | None = None  # what a Restart begins with, when not `graph`
        self.input: Raw = EMPTY_OBJECT
        self.output: Raw = EMPTY_OBJECT
        self.tasks: dict[str, Task] = {}
        self.latest: dict[str, str | None] = {}
        self.refs: dict[str, str | None] = {}
        self.open_known = False
        self.all_known = False
        self.entries: dict[str, QueueEntry] | None = None  # of this step only: polls change them
        self.scripts: dict[ScriptFact, ScriptOutcome] = {}
        self.definitions: dict[DefinitionFact, Graph | None] = {}
        self.task_defs: dict[str, Any] = {}
        self.domains: dict[str, Mapping[str, int]] = {}
        self.environment: Mapping[str, str] = {}
        self.stored_environment: dict[str, str | None] = {}
        self.schemas: dict[SchemaFact, str | None] = {}
        self._decoded: dict[int, tuple[Raw, Any]] = {}

    def decoded(self, raw: Raw) -> Any:
        """The value of a stored JSON document, parsed once while the view lives; not to be changed."""
        kept = self._decoded.get(id(raw))
        if kept is not None and kept[0] is raw:
            return kept[1]
        value = msgspec.json.decode(raw)
        if len(self._decoded) > DECODED_MAX:
            self._decoded.clear()
        self._decoded[id(raw)] = (raw, value)
        return value


DECODED_MAX = 64
"""Parsed documents one view keeps; a step reads a handful."""


class Stamp(Struct, kw_only=True, frozen=True):
    """Time, identity and chance of one event, drawn by the shell so that the step can be repeated exactly."""

    event_id: str
    now_ms: int
    seed: int


class IdStream:
    """Ids and jitter that follow from a seed: the same seed and time give the same ids in the same order.

    Ids are UUIDs of version 7: they sort by time, and within a step by order, which keeps the store's indexes
    local (a third of the pages written per step, measured on SQLite).
    """

    def __init__(self, seed: int, now_ms: int) -> None:
        self._seed = seed
        self._now_ms = now_ms
        self._count = 0

    def _digest(self) -> str:
        self._count += 1
        return hashlib.blake2b(struct.pack("<QQ", self._seed, self._count), digest_size=16).hexdigest()

    def uuid(self) -> str:
        """A UUID version 7 in text form: time, place in the step, then chance."""
        h = self._digest()
        t = f"{self._now_ms & 0xFFFFFFFFFFFF:012x}"
        return f"{t[:8]}-{t[8:]}-7{self._count & 0xFFF:03x}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}"

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1; 0 when the bound is 0."""
        return int(self._digest()[:12], 16) % bound if bound > 0 else 0


def name_uuid(text: str) -> str:
    """Java's UUID.nameUUIDFromBytes: version 3 without a namespace."""
    digest = bytearray(hashlib.md5(text.encode(), usedforsecurity=False).digest())
    digest[6] = (digest[6] & 0x0F) | 0x30
    digest[8] = (digest[8] & 0x3F) | 0x80
    h = digest.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
