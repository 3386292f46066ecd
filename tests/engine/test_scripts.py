"""Scripts run apart, within limits, and answer in the words clients know."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.ports.scripts import ScriptCall, ScriptResult, ScriptRunner

INPUT = {"x": 1, "m": {"k": "v"}, "l": [3, 1, 2], "nul": None, "big": 12345678901234}
QUICK_MS = 300


def call(source: str, language: str = "javascript", **bindings: Any) -> ScriptCall:
    return ScriptCall(language=language, source=source, bindings=msgspec.json.encode(bindings or INPUT))


@pytest.fixture
async def runner() -> AsyncIterator[QuickJsRunner]:
    runner = QuickJsRunner(processes_max=1, time_limit_ms=QUICK_MS, kill_grace_ms=10_000)
    yield runner
    await runner.aclose()


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("$.x + 1", 2),
        ("$.m.k", "v"),
        ("$.m.none", None),
        ("$.nul", None),
        ("$.big", 12345678901234),
        ("$.x > 0", True),
        ("1 / 2", 0.5),
        ("5.0", 5),
        ("2 ** 40", 1099511627776),
        ("-(2 ** 40)", -1099511627776),
        ("1e300", 1e300),
        ("NaN", "NaN"),
        ("-1 / 0", "-Infinity"),
        ("undefined", None),
        ("'ключ'", "ключ"),
        ("$.l.sort()", [1, 2, 3]),
        ("({a: [1, 2.5, undefined], b: {c: null}, d: undefined})", {"a": [1, 2.5, None], "b": {"c": None}}),
        ("(() => { const {x} = $; return {r: `${x}!`}; })()", {"r": "1!"}),
        ("(function () { for (var i = 0; i < 9; i++) {} return i; })()", 9),
        ("JSON.stringify($.m)", '{"k":"v"}'),
        ("$.m.k = 'changed'; $.m.k", "changed"),
    ],
)
async def test_results_become_json(runner: QuickJsRunner, source: str, value: Any) -> None:
    """The last expression is the result, with JavaScript's numbers as integers where they are whole."""
    found = await runner.run(call(source))

    assert (found.error, found.value, type(found.value)) == (None, value, type(value))
    assert runner.run_sync(call(source)) == found


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("$.none.x", "`TypeError: Cannot read property 'x' of undefined` at line 1"),
        ("\n\nfoo()", "`ReferenceError: foo is not defined` at line 3"),
        ("console.log(1)", "`ReferenceError: console is not defined` at line 1"),
        ("1 +", "`SyntaxError: unexpected token in expression: ''` at line 1"),
        ("throw new Error('boom')", "`Error: boom` at line 1"),
        ("throw 5", "`5`"),
        ("var o = {}; o.o = o; o", "`TypeError: circular reference`"),
        ("10n", "`TypeError: the result cannot be written as JSON`"),
        ("'\\ud800'", "`TypeError: the result cannot be written as JSON`"),
        ("(function f() { return f(); })()", "`RangeError: Maximum call stack size exceeded` at line 1"),
        ("for (var a = [];;) a.push(new Array(9999).fill(1))", "`InternalError: out of memory` at line 1"),
        ("throw new InternalError('interrupted')", "`InternalError: interrupted` at line 1"),
    ],
)
async def test_errors_name_message_and_line(runner: QuickJsRunner, source: str, said: str) -> None:
    """A failing script is one sentence with the message and, where there is one, the line."""
    found = await runner.run(call(source))

    assert found == ScriptResult(error=f"Error evaluating the script {said}")
    assert runner.run_sync(call(source)) == found


async def test_scripts_see_nothing_of_each_other(runner: QuickJsRunner) -> None:
    """Globals, built-ins and the input that one script changes are as new for the next."""
    await runner.run(
        call("globalThis.leak = 1; var top = 2; Array.prototype.leak = 3; JSON.stringify = 4; $.m.k = 5")
    )

    found = await runner.run(call("[typeof leak, typeof top, typeof [].leak, JSON.stringify($.m.k)]"))

    assert found.value == ["undefined", "undefined", "undefined", '"v"']


@pytest.mark.parametrize(
    "source",
    [
        "while (true) {}",
        "try { while (true) {} } catch (e) { 1 } finally { while (true) {} }",
        "/(x+x+)+y/.test('x'.repeat(40))",
        "({toJSON() { while (true) {} }})",
    ],
)
async def test_time_is_limited(runner: QuickJsRunner, source: str) -> None:
    """A script that goes on is interrupted, whatever it is busy with, and the runner goes on too."""
    found = await runner.run(call(source))

    assert found == ScriptResult(
        error="Script not evaluated within 0.3 seconds, interrupted.", timed_out=True
    )
    assert runner.run_sync(call(source)) == found
    assert (await runner.run(call("$.x"))).value == 1


def test_the_usual_limit_is_four_seconds() -> None:
    """The wording of the limit is the one clients compare."""
    from engine.adapters.scripts import quickjs_worker

    said = quickjs_worker.timeout_text(quickjs_worker.TIME_LIMIT_MS)

    assert said == "Script not evaluated within 4 seconds, interrupted."


async def test_what_cannot_be_interrupted_is_killed() -> None:
    """When the interpreter does not stop itself, its process is ended and the next script gets a new one."""
    runner = QuickJsRunner(processes_max=1, time_limit_ms=60_000, kill_grace_ms=QUICK_MS - 60_000)

    endless = await runner.run(call("while (true) {}"))
    after = await runner.run(call("$.x"))
    await runner.aclose()

    assert endless.timed_out
    assert after.value == 1


async def test_the_event_loop_stays_free(runner: QuickJsRunner) -> None:
    """While a script is busy other work of the server goes on, and scripts that wait get their turn."""
    busy = asyncio.create_task(runner.run(call("while (true) {}")))
    waiting = asyncio.create_task(runner.run(call("$.x")))
    turns = 0
    while not busy.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 100
    assert (await waiting).value == 1


async def test_a_cancelled_caller_leaves_no_answer_behind(runner: QuickJsRunner) -> None:
    """After a caller gave up, the next one gets its own answer."""
    given_up = asyncio.create_task(runner.run(call("while (true) {}")))
    await asyncio.wait({given_up}, timeout=0.1)
    given_up.cancel()
    await asyncio.wait({given_up})

    assert (await runner.run(call("$.x + 41"))).value == 42


async def test_a_process_ended_from_outside_is_replaced(runner: QuickJsRunner) -> None:
    """A child that was killed while idle costs nobody an answer."""
    assert (await runner.run(call("$.x"))).value == 1
    [[process]] = runner._idle.values()
    os.kill(process.pid, signal.SIGKILL)

    assert (await runner.run(call("$.x + 1"))).value == 2


async def test_many_at_once() -> None:
    """Concurrent scripts get each their own answer, large inputs and results included."""
    runner = QuickJsRunner(processes_max=2)
    text = "x" * 500_000

    found = await asyncio.gather(
        *[runner.run(call("[$.i, $.t]", i=i, t=text if i == 7 else "")) for i in range(50)]
    )
    await runner.aclose()

    assert [result.value for result in found] == [[i, text if i == 7 else ""] for i in range(50)]


async def test_closing_ends_what_runs() -> None:
    """A closed runner answers what is under way with an error, starts nothing, and leaves no process."""
    runner = QuickJsRunner(processes_max=1)
    under_way = asyncio.create_task(runner.run(call("while (true) {}")))
    await asyncio.wait({under_way}, timeout=0.3)

    await runner.aclose()

    assert "closed" in str((await under_way).error)
    assert "closed" in str((await runner.run(call("1"))).error)


async def test_unknown_languages_are_refused(runner: QuickJsRunner) -> None:
    """Only JavaScript is evaluated; its second name works as well."""
    refused = ScriptResult(error="No evaluator registered for type: python")

    assert await runner.run(call("1", "python")) == runner.run_sync(call("1", "python")) == refused
    assert (await runner.run(call("1", "graaljs"))).value == 1


async def test_bad_input_is_an_error(runner: QuickJsRunner) -> None:
    """Bindings that are no JSON are the caller's mistake, and do not end the child."""
    for bindings in (b"{", b"\xff"):
        bad = ScriptCall(language="javascript", source="1", bindings=bindings)

        assert (await runner.run(bad)).error is not None
        assert runner.run_sync(bad).error is not None


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("$.a > 1", None),
        ("while (true) {}", None),
        ("let a = 1; a", None),
        ("foo.bar.baz", None),
        ("1 +", "SyntaxError: unexpected token in expression: ''` at line 1"),
        ("let a = `${$.x}`;\nlet b=;", "at line 2"),
        ("return 1", "SyntaxError: return not in a function"),
        ("(" * 100_000, "RangeError"),
    ],
)
def test_syntax_is_checked_without_running(source: str, problem: str | None) -> None:
    """A text that is no JavaScript is known as such; one that is runs neither for ever nor at all."""
    checker: ScriptRunner = QuickJsRunner()

    found = checker.syntax_problem(source)

    assert (found is None) if problem is None else (problem in str(found))


@pytest.mark.parametrize(
    ("program", "results"),
    [
        (".x", [1]),
        (".x, .none", [1, None]),
        ("empty", []),
        (".l | sort | map(. * 1.5)", [[1.5, 3, 4.5]]),
        ('"a\\nb" | ., length', ["a\nb", 3]),
        ('env | keys - ["LC_CTYPE"]', [[]]),
    ],
)
async def test_a_jq_program_gives_all_its_results(
    runner: QuickJsRunner, program: str, results: list[Any]
) -> None:
    """Whole numbers stay whole, several results come in order, and the server's environment is not seen."""
    found = await runner.run(call(program, "jq"))

    assert (found.error, found.value) == (None, results)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (".[", "syntax error, unexpected end of file"),
        (".m | .[0]", "Cannot index object with number"),
        ('import "/etc/hostname" as $x; .', "module not found"),
        ('error("mine")', "`mine`"),
    ],
)
async def test_a_jq_error_is_one_sentence(runner: QuickJsRunner, program: str, said: str) -> None:
    """The author reads what jq says, on one line; files are out of reach."""
    found = await runner.run(call(program, "jq"))

    assert found.error is not None
    assert said in found.error
    assert "\n" not in found.error
    assert not found.timed_out


async def test_an_endless_jq_program_dies_at_the_limit_and_others_go_on() -> None:
    """It costs one slot: scripts in other processes are answered meanwhile, and its place is filled anew."""
    runner = QuickJsRunner(processes_max=2, time_limit_ms=60_000, kill_grace_ms=QUICK_MS * 3 - 60_000)

    endless = asyncio.ensure_future(runner.run(call("def f: f; f", "jq")))
    others = [await runner.run(call("$.x")) for _ in range(3)]
    assert [other.value for other in others] == [1, 1, 1]
    assert not endless.done()
    found = await endless

    assert found.timed_out
    assert (await runner.run(call(".x", "jq"))).value == [1]
    assert runner.run_sync(call("def f: f; f", "jq")).timed_out
    await runner.aclose()
