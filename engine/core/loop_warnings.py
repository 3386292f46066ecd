"""Loops that never end, or whose condition reads what is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.core.model import WorkflowDef, WorkflowTask, collect_tasks

_READ = re.compile(r"\$\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*['\"]([^'\"]+)['\"]\s*\])")
_ALWAYS = re.compile(r"\(*\s*(?:true|!0|!false|[1-9]\d*(?:\.\d+)?)\s*\)*;?")
_LIST_NAMES = frozenset({"loopIndex", "loopItem"})


def loop_doubts(task: WorkflowTask) -> Iterator[str]:
    """What is doubtful about a DO_WHILE; nothing for other types."""
    if task.type != "DO_WHILE":
        return
    ref = task.task_reference_name
    condition = (task.loop_condition or "").strip()
    listed = task.items is not None or "_items" in task.input_parameters
    if listed:
        if not condition:
            return
    elif not condition:
        yield f"loop {ref} has no condition and no items: it runs once; say in loopCondition when it goes on"
        return
    elif _ALWAYS.fullmatch(condition):
        yield f"the condition of loop {ref} is always true, it never ends; compare $.{ref}['iteration']"
        return
    if re.search(r"\$(?![\s.\[{])|\$\s*\[\s*[^'\"\s]", condition) or "${" in condition:
        return  # it takes `$` as a whole: what it reads cannot be told
    names = {first or second for first, second in _READ.findall(condition)}
    inside = {inner.task_reference_name for inner in collect_tasks(WorkflowDef(tasks=task.loop_over))}
    moving = {ref, *inside, *(_LIST_NAMES if listed else ())}
    for name in sorted(names - moving - set(task.input_parameters)):
        yield (
            f"the condition of loop {ref} reads {name}, which is neither the loop, nor a task in it, nor one "
            "of its inputParameters; add it there"
        )
    if not names & moving and not listed and not (names - set(task.input_parameters)):
        yield (
            f"the condition of loop {ref} reads nothing that changes from round to round: it runs once or "
            f"never ends; read $.{ref}['iteration'] or a task in it"
        )
