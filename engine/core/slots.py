"""Slots of limited workflows: `rateLimitConfig` lets so many executions that share a key run at once.

A workflow that finds no slot is created RUNNING without a task and waits; in the order in which they came
they begin as slots are freed (policy QUEUE), or the start is refused (REJECT). The slot is a row beside the
workflow, written with the step that takes or frees it, so that none can leak. What brings an ended workflow
back (retry, rerun, restart, a revived child) takes a slot without asking: new starts wait until there is room
again.
"""

from __future__ import annotations

from engine.core.expressions import compile_template
from engine.core.graph import Graph
from engine.core.model import RateLimitConfig
from engine.core.records import Slot
from engine.core.scope import StepScope
from engine.core.statuses import WORKFLOW_OPEN
from engine.core.step import Step
from engine.core.values import to_text

KEY_CHARS_MAX = 255
"""Longer keys are cut."""


def slot_config(graph: Graph) -> RateLimitConfig | None:
    """The definition's rate limit; None when it has none that counts."""
    config = graph.definition.rate_limit_config
    return config if config is not None and config.concurrent_exec_limit > 0 else None


def slot_key(step: Step) -> str | None:
    """What the workflow shares its slots by: the evaluated rateLimitKey, else the workflow's name."""
    config = slot_config(step.graph)
    if config is None:
        return None
    value = compile_template(config.rate_limit_key).evaluate(StepScope(step))
    text = "" if value is None else to_text(value)
    return (text or step.header.name)[:KEY_CHARS_MAX]


def slot_change(step: Step) -> tuple[Slot | None, bool]:
    """What the step does to the workflow's slot: the one it takes or waits for, and whether it is freed."""
    header, before = step.header, step.view.header
    key = header.rate_limit_key
    was_open = before is not None and before.status in WORKFLOW_OPEN
    if key is None or header.status not in WORKFLOW_OPEN:
        return None, was_open and before is not None and before.rate_limit_key is not None
    if before is None:
        return Slot(key=key, held=not header.rate_limited, held_max=step.slots_max), False
    if not was_open:
        return Slot(key=key, held=True), False
    if before.rate_limited and not header.rate_limited:
        return Slot(key=key, held=True, held_max=step.slots_max), False
    return None, False
