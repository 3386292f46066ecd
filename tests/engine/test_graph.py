"""A compiled definition: who follows whom, out of every container, without walking it again."""

from __future__ import annotations

from typing import Any

from engine.core.graph import End, Graph, compile_definition
from engine.core.model import decode_workflow_def
from engine.testing.story import Definition, fork, join, loop, switch, task


def _graph(*tasks: Definition, **members: Any) -> Graph:
    return compile_definition(
        decode_workflow_def({"name": "g", "version": 1, "tasks": list(tasks), **members})
    )


def _ends(graph: Graph) -> dict[str, str]:
    """Per reference: what follows, or how the list ends."""
    return {
        ref: node.next or f"{node.end.kind} {node.end.ref or ''}".strip() for ref, node in graph.nodes.items()
    }


def test_a_list_is_a_chain() -> None:
    """The last one ends the workflow."""
    graph = _graph(task("a"), task("b"))

    assert graph.first == "a"
    assert _ends(graph) == {"a": "b", "b": "workflow"}


def test_the_end_of_a_case_leads_behind_its_switch() -> None:
    """Resolved at compile time, however deep."""
    inner = switch("t", 1, {"x": [task("b")]})
    graph = _graph(switch("s", 1, {"left": [task("a"), inner]}, task("d")), task("z"))

    assert _ends(graph) == {"s": "z", "a": "t", "t": "z", "b": "z", "d": "z", "z": "workflow"}
    assert graph.nodes["s"].cases == {"left": ("a", "t")}
    assert graph.nodes["s"].default == ("d",)
    assert graph.nodes["b"].parent == "t"


def test_the_end_of_a_branch_is_its_join() -> None:
    """A JOIN's references know which JOIN waits for them."""
    graph = _graph(fork("f", [task("a"), task("a2")], [task("b")]), join("j", "a2", "b"), task("z"))

    assert _ends(graph) == {"f": "j", "a": "a2", "a2": "join j", "b": "join j", "j": "z", "z": "workflow"}
    assert graph.nodes["a2"].joins == ("j",)
    assert graph.nodes["a"].joins == ()
    assert graph.nodes["f"].branches == (("a", "a2"), ("b",))


def test_the_end_of_a_body_is_its_loop() -> None:
    """Everything inside knows the innermost loop; `inside` gives all of it."""
    graph = _graph(loop("o", 2, task("a"), loop("i", 2, switch("s", 1, {"x": [task("b")]}))))

    assert graph.nodes["a"].loop == graph.nodes["i"].loop == "o"
    assert graph.nodes["s"].loop == graph.nodes["b"].loop == "i"
    assert graph.nodes["b"].end == End(kind="loop", ref="i")
    assert {node.ref for node in graph.inside("o")} == {"a", "i", "s", "b"}
    assert {node.ref for node in graph.inside("i")} == {"s", "b"}


def test_the_hash_is_the_contents() -> None:
    """The same definition has the same hash, another one another."""
    assert _graph(task("a")).hash == _graph(task("a")).hash
    assert _graph(task("a")).hash != _graph(task("a"), description="other").hash


def test_an_empty_definition_has_no_first_task() -> None:
    """It completes at its start."""
    assert _graph().first is None
