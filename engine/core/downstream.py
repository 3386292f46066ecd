"""What a task has led to: the tasks that a rerun from it takes away.

Upstream removes every task with a higher seq, parallel branches included, and then stops moving; here only
what really follows goes, and the JOINs and loops around the task wait for it again.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.core.graph import Graph, Node
from engine.core.records import Task, iteration_in


def downstream(graph: Graph, task: Task, tasks: Iterable[Task]) -> set[str]:
    """Ids of the tasks that exist because `task` ended as it did, containers around it left out."""
    tasks = list(tasks)
    by_ref = {item.ref: item for item in tasks}
    gone: set[str] = set()
    suffix, loop_ref = task.links.suffix, task.links.loop
    iteration = iteration_in(suffix)
    node = graph.nodes.get(task.links.base_ref) if task.links.in_def else None
    if node is not None:
        gone |= _of(graph, tasks, _inside(graph, node), suffix) - {task.id}
        node_after: Node | None = node
    else:  # a dynamic branch leads to its JOIN
        joins = [by_ref[ref].links.base_ref for ref in task.links.joins if ref in by_ref]
        node_after = graph.nodes[joins[0]] if joins else None
    while node_after is not None:
        gone |= _of(graph, tasks, _following(graph, node_after), suffix)
        end = _end_of_list(graph, node_after)
        if end.end.kind == "join" and end.end.ref is not None:
            node_after = graph.nodes[end.end.ref]
        elif end.end.kind == "loop" and loop_ref is not None and loop_ref in by_ref:
            around = by_ref[loop_ref]
            gone |= _later_iterations(graph, tasks, around, iteration)
            suffix, loop_ref = around.links.suffix, around.links.loop
            iteration = iteration_in(suffix)
            node_after = graph.nodes[around.links.base_ref]
        else:
            node_after = None
    return gone


def _following(graph: Graph, node: Node) -> set[str]:
    """Base references after a node in its list, with everything inside them."""
    refs: set[str] = set()
    ref = node.next
    while ref is not None and ref not in refs:
        following = graph.nodes[ref]
        refs |= {ref} | _inside(graph, following)
        ref = following.next
    return refs


def _end_of_list(graph: Graph, node: Node) -> Node:
    while node.next is not None:
        node = graph.nodes[node.next]
    return node


def _inside(graph: Graph, node: Node) -> set[str]:
    refs: set[str] = set()
    todo = [*node.default, *node.body]
    todo += [ref for case in node.cases.values() for ref in case]
    todo += [ref for branch in node.branches for ref in branch]
    for ref in todo:
        refs |= {ref} | _inside(graph, graph.nodes[ref])
    return refs


def _of(graph: Graph, tasks: list[Task], refs: set[str], suffix: str) -> set[str]:
    """Tasks of these references in this iteration, dynamic branches by the JOIN they report to."""
    found = set()
    for task in tasks:
        if task.links.suffix != suffix and not task.links.suffix.startswith(suffix + "__"):
            continue
        named = [task.links.base_ref]
        if not task.links.in_def:
            named = [ref.removesuffix(task.links.suffix) for ref in task.links.joins]
        if any(ref in refs for ref in named):
            found.add(task.id)
    return found


def _later_iterations(graph: Graph, tasks: list[Task], around: Task, iteration: int) -> set[str]:
    prefix = around.links.suffix + "__"
    found = set()
    for task in tasks:
        if task.links.suffix.startswith(prefix) and _belongs(graph, task, around):
            head = task.links.suffix.removeprefix(prefix).split("__")[0]
            if int(head) > iteration:
                found.add(task.id)
    return found


def _belongs(graph: Graph, task: Task, around: Task) -> bool:
    if task.links.loop == around.ref or not task.links.in_def:
        return task.links.loop is not None and task.links.loop.split("__")[0] == around.links.base_ref
    return task.links.base_ref in _inside(graph, graph.nodes[around.links.base_ref])
