"""A ScriptRunner on QuickJS and jq in child processes; what nothing else stops dies with its process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from pathlib import Path

import msgspec

from engine.adapters.scripts import quickjs_worker as worker
from engine.ports.scripts import ScriptCall, ScriptResult

SCHEMA_LANGUAGE = "json-schema"
SCHEMA_PROGRAM = Path(__file__).with_name("schema_worker.py")
PROCESSES_MAX = 4  # a few endless scripts must not keep the others waiting
KILL_GRACE_MS = 500  # QuickJS stops itself at the limit, nearly always
ANSWER_BYTES_MAX = 256 * 1024 * 1024
_CLOSED = "Error evaluating the script `the script runner is closed`"
_DIED = "Error evaluating the script `the process that ran it ended; it may have taken too much memory`"


class QuickJsRunner:
    """Keeps up to `processes_max` children, started when first needed and again after one had to be killed.

    One runner belongs to one event loop. An evaluation waits while all children are busy; its time limit
    counts from when one takes it up.
    """

    def __init__(
        self,
        *,
        processes_max: int = PROCESSES_MAX,
        time_limit_ms: int = worker.TIME_LIMIT_MS,
        kill_grace_ms: int = KILL_GRACE_MS,
    ) -> None:
        self._time_limit_ms = time_limit_ms
        self._kill_after_s = (time_limit_ms + kill_grace_ms) / 1000
        self._free = asyncio.Semaphore(processes_max)
        self._idle: dict[str, list[asyncio.subprocess.Process]] = {}  # by program
        self._busy: set[asyncio.subprocess.Process] = set()
        self._closed = False

    async def run(self, call: ScriptCall) -> ScriptResult:
        """Evaluate in a child; see `ScriptRunner.run`."""
        refusal = _refusal(call)
        if refusal is not None:
            return refusal
        request = _request(call)
        async with self._free:
            # A child may have been ended from outside since it last answered; a script has no effects, so
            # it can simply be run again.
            program = _program(call.language)
            result = await self._attempt(program, request) or await self._attempt(program, request)
        return result or ScriptResult(error=_CLOSED if self._closed else _DIED)

    async def _attempt(self, program: str, request: bytes) -> ScriptResult | None:
        """Ask one child; None when it could not answer."""
        if self._closed:
            return None
        idle = self._idle.setdefault(program, [])
        process = idle.pop() if idle else await _start(program, self._time_limit_ms)
        self._busy.add(process)
        in_step = False
        try:
            if self._closed:
                return None
            async with asyncio.timeout(self._kill_after_s):
                result = await _ask(process, request)
            in_step = True
        except TimeoutError:
            return ScriptResult(error=worker.timeout_text(self._time_limit_ms), timed_out=True)
        except (OSError, EOFError):
            return None
        finally:
            # An unfinished exchange, also one whose caller was cancelled, leaves the child out of step.
            self._busy.discard(process)
            if in_step and not self._closed:
                idle.append(process)
            else:
                await asyncio.shield(_stop(process))
        return result

    def run_sync(self, call: ScriptCall) -> ScriptResult:
        """Evaluate on the calling thread; see `ScriptRunner.run_sync`."""
        refusal = _refusal(call)
        if refusal is not None:
            return refusal
        if call.language not in worker.JAVASCRIPT:
            return self._run_apart(call)
        interpreter = worker.Interpreter(self._time_limit_ms)
        try:
            return _result(worker.evaluate(call.source, call.bindings.decode(), interpreter))
        except UnicodeDecodeError:
            return ScriptResult(
                error="Error evaluating the script `SyntaxError: its input is not valid JSON`"
            )

    def _run_apart(self, call: ScriptCall) -> ScriptResult:
        """One child for one program: nothing in this process could end it."""
        try:
            done = subprocess.run(
                _command(_program(call.language), self._time_limit_ms),
                input=_request(call),
                stdout=subprocess.PIPE,
                env={},
                timeout=self._kill_after_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ScriptResult(error=worker.timeout_text(self._time_limit_ms), timed_out=True)
        answer = done.stdout[worker.LENGTH.size :]
        return (
            _result(msgspec.json.decode(answer, type=worker.Outcome)) if answer else ScriptResult(error=_DIED)
        )

    def syntax_problem(self, source: str) -> str | None:
        """Read a script without running it; see `ScriptRunner.syntax_problem`."""
        return worker.syntax_problem(source)

    async def aclose(self) -> None:
        """Stop all children and wait for them to be gone."""
        self._closed = True
        processes = [*itertools.chain(*self._idle.values()), *self._busy]
        self._idle.clear()
        await asyncio.gather(*[_stop(process) for process in processes])


def _refusal(call: ScriptCall) -> ScriptResult | None:
    if call.language not in worker.LANGUAGES and call.language != SCHEMA_LANGUAGE:
        return ScriptResult(error=f"No evaluator registered for type: {call.language}")
    return None


def _result(outcome: worker.Outcome) -> ScriptResult:
    value, error, timed_out = outcome
    return ScriptResult(value=value, error=error, timed_out=timed_out)


def _request(call: ScriptCall) -> bytes:
    return worker.frame((call.language, call.source, msgspec.Raw(call.bindings)))


def _program(language: str) -> str:
    """Schemas have children of their own, so that scripts need not wait for the libraries of schemas."""
    return str(SCHEMA_PROGRAM if language == SCHEMA_LANGUAGE else Path(worker.__file__))


def _command(program: str, time_limit_ms: int) -> list[str]:
    return [sys.executable, program, str(time_limit_ms)]


async def _start(program: str, time_limit_ms: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *_command(program, time_limit_ms),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={},  # a server's environment holds its secrets, and jq can read it
        start_new_session=True,
    )


async def _ask(process: asyncio.subprocess.Process, request: bytes) -> ScriptResult:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(request)
    await process.stdin.drain()
    length = worker.LENGTH.unpack(await process.stdout.readexactly(worker.LENGTH.size))[0]
    if length > ANSWER_BYTES_MAX:
        raise EOFError
    return _result(msgspec.json.decode(await process.stdout.readexactly(length), type=worker.Outcome))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(OSError):
            await process.stdin.wait_closed()
    await process.wait()
