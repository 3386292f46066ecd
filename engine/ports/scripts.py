"""Scripts that workflow authors write in definitions, run away from the engine's own thread."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct


class ScriptCall(Struct, frozen=True, kw_only=True):
    """One evaluation.

    Attributes:
        language: `javascript` or `graaljs` (the same language under two names), `jq`, or `json-schema`.
        source: the value of its last expression is the result; a jq program's is the list of its results. A
            schema's is the list of problems, each `[path, what]`.
        bindings: a JSON object; the script sees a copy of it as `$`, a jq program as its input. A schema
            checks it.
    """

    language: str
    source: str
    bindings: bytes = b"{}"


class ScriptResult(Struct, frozen=True, kw_only=True):
    """How an evaluation ended: with a JSON value, or with an error.

    Attributes:
        value: the result; None when it is null, undefined, or there is an error.
        error: one sentence for the author, worded as clients of the wire know it.
        timed_out: the error is that the time ran out; trying again may help, elsewhere it does not.
    """

    value: Any = None
    error: str | None = None
    timed_out: bool = False


class ScriptRunner(Protocol):
    """Evaluates scripts within limits of time and memory; no script sees what another left behind."""

    async def run(self, call: ScriptCall) -> ScriptResult:
        """Evaluate; never raises for what a script does, and never holds the event loop up."""
        ...

    def run_sync(self, call: ScriptCall) -> ScriptResult:
        """Evaluate on the calling thread, for replays and tools; it may be held for the whole time limit."""
        ...

    def syntax_problem(self, source: str) -> str | None:
        """Say why a text is no JavaScript, without running it; None when it is."""
        ...

    async def aclose(self) -> None:
        """Stop what `run` started; evaluations under way end with an error."""
        ...
