"""Whatever happens in whatever order, an execution keeps its promises (World checks them after each step)."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.core import events as ev
from engine.core.errors import RefusedError
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.testing.generated import TASK_DEFS, definition
from engine.testing.world import World

EXAMPLES = 600  # each of the four properties; together more than two thousand


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Workflow definitions out of every type the engine runs, nested up to three deep."""
    return definition(lambda options: draw(st.sampled_from(options)), server=True)


def world_of(generated: dict[str, Any]) -> World:
    return World(generated, task_defs=TASK_DEFS)


class Chaos:
    """Draws what happens next: truths, lies, repeats and operations alike."""

    def __init__(self, data: st.DataObject, world: World, *, operations: bool) -> None:
        self.data, self.world, self.operations = data, world, operations
        self.sent: list[ev.Event] = []

    def round(self) -> None:
        world = self.world
        world.now_ms += self.data.draw(st.sampled_from([0, 1, 1_000, 30_000]), label="time passes")
        truths = world.possible() if world.header is not None and world.header.status in WORKFLOW_OPEN else []
        kind = self.data.draw(
            st.sampled_from(["truth", "truth", "many", "failure", "repeat", "poll", "deadline", "operation"])
        )
        events: list[ev.Event] = []
        if kind == "many" and truths:
            events = self.data.draw(st.lists(st.sampled_from(truths), min_size=1, max_size=4))
        elif kind == "failure" and world.queue:
            task_id = self.data.draw(st.sampled_from(sorted(world.queue)))
            status = self.data.draw(
                st.sampled_from(
                    [TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.IN_PROGRESS]
                )
            )
            events = [world.report(task_id, status)]
        elif kind == "repeat" and self.sent:
            events = [self.data.draw(st.sampled_from(self.sent[-20:]))]
        elif kind == "poll" and world.queue:
            world.poll(self.data.draw(st.sampled_from(sorted(world.queue))))
        elif kind == "deadline" and world.queue:
            entry = world.queue[self.data.draw(st.sampled_from(sorted(world.queue)))]
            events = [ev.DeadlinePassed(task_id=entry.task_id, entry=entry)]
        elif kind == "operation" and self.operations:
            events = [self.operation()]
        elif truths:
            events = [self.data.draw(st.sampled_from(truths))]
        if events:
            world.post(*events)
            self.sent += events

    def operation(self) -> ev.Event:
        world = self.world
        ids = [task.id for task in world.listed() if not task.state.retried]
        choices: list[ev.Event] = [
            ev.Pause(),
            ev.Resume(),
            ev.Retry(),
            ev.Restart(),
            ev.Terminate(reason="enough"),
            ev.Rerun(),
        ]
        choices += [ev.SkipTask(ref=ref) for ref in list(world.graph.nodes)[:4]]
        choices += [ev.Rerun(task_id=task_id) for task_id in ids]
        children = [
            t
            for t in world.listed()
            if t.head.task_type == "SUB_WORKFLOW" and isinstance(t.state.sub_workflow_id, str)
        ]
        choices += [world.child_end(t, WorkflowStatus.FAILED) for t in children]
        choices += [ev.ChildRevived(task_id=t.id, child_id=str(t.state.sub_workflow_id)) for t in children]
        return self.data.draw(st.sampled_from(choices))


relaxed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # shrinking such histories takes longer than reading one
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@relaxed
@given(definitions(), st.randoms(use_true_random=False))
def test_any_order_of_completions_ends_in_completed(generated: dict[str, Any], random: Any) -> None:
    """However the completions are ordered, nothing runs twice and the workflow completes."""
    world = world_of(generated)
    world.start({"a": 1})
    for _ in range(2_000):
        if world.header is None or world.header.status not in WORKFLOW_OPEN:
            break
        possible = world.possible()
        assert possible, "stuck"
        world.post(*random.sample(possible, random.randint(1, min(3, len(possible)))))
    assert world.header is not None
    assert world.header.status is WorkflowStatus.COMPLETED


@relaxed
@given(definitions(), st.data())
def test_failures_repeats_and_late_updates_never_stick(
    generated: dict[str, Any], data: st.DataObject
) -> None:
    """Failures, timeouts, duplicates and late updates in any order leave a workflow that can still end."""
    world = world_of(generated)
    world.start()
    chaos = Chaos(data, world, operations=False)
    for _ in range(data.draw(st.integers(1, 15))):
        chaos.round()
    world.finish_everything()


@relaxed
@given(definitions(), st.data())
def test_operations_at_any_moment_never_stick(generated: dict[str, Any], data: st.DataObject) -> None:
    """Operations and news of children at any moment are refused or sound, and never leave it stuck."""
    world = world_of(generated)
    world.start()
    chaos = Chaos(data, world, operations=True)
    for _ in range(data.draw(st.integers(1, 15))):
        chaos.round()
    world.finish_everything()


@relaxed
@given(definitions())
def test_late_updates_change_nothing(generated: dict[str, Any]) -> None:
    """Every update repeated after its task ended is answered and changes nothing."""
    world = world_of(generated)
    world.start()
    for _ in range(300):
        if world.header is None or world.header.status not in WORKFLOW_OPEN:
            break
        event = world.possible()[0]
        [first] = world.post(event)
        assert not isinstance(first, RefusedError)
        if isinstance(event, ev.MessageSent):
            continue  # a second message, not a repeat
        before = world.row_version
        [again] = world.post(event)
        assert not isinstance(again, RefusedError)
        assert not again.changed or world.row_version == before
