"""FORK_JOIN, FORK_JOIN_DYNAMIC and JOIN.

A JOIN exists, IN_PROGRESS, from the moment of its fork. It keeps a count of the references that have not
ended for good; the step that brings the count to zero completes it. Nothing polls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core.errors import InvariantError
from engine.core.facts import Fact, FactsMissingError, TaskDefFact
from engine.core.graph import DEFINED_TYPES, SYSTEM_TYPES, Node, compile_task
from engine.core.mapping import Mapper, Source, evaluate, new_task, source_of
from engine.core.model import MalformedBodyError, SubWorkflowParams, TaskDef, WorkflowTask, decode, wire
from engine.core.records import JoinState, Task
from engine.core.statuses import TASK_SUCCESSFUL, TaskStatus, WorkflowStatus
from engine.core.step import EndWorkflow, Step, Wanted
from engine.core.tasks import switch
from engine.core.values import to_text

FORK_BRANCHES_MAX = 50_000
"""More branches than this in one dynamic fork are refused: the fork's documents would not fit a request."""


class ForkJoin:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        node = step.graph.nodes[source.base_ref]
        join = _join_after(
            step, node, "Fork task definition is not followed by a join task.  Check the blueprint"
        )
        created = [
            new_task(
                step,
                source,
                task_type="FORK",
                task_def_name="FORK",
                status=TaskStatus.COMPLETED,
                executed=True,
            )
        ]
        lacking: list[Fact] = []
        for branch in node.branches:
            if not branch:
                continue  # nothing to do in it, and nothing to join
            step.count(source.place.loop, 1)
            if branch[0] in step.header.skipped:
                step.later.append(Wanted(ref=branch[0], place=source.place))
                continue
            try:
                created += _head_of_branch(step, source_of(step.graph.nodes[branch[0]], source.place), mapper)
            except FactsMissingError as missing:
                lacking += missing.facts
        if lacking:
            raise FactsMissingError(dict.fromkeys(lacking))
        step.count(source.place.loop, 1)
        created.append(
            create_join(
                step, source_of(join, source.place), join.task.join_on, inside=_refs_inside(step, node)
            )
        )
        step.count(source.place.loop, -1)  # the FORK itself is final
        return created

    def run(self, step: Step, task: Task) -> Task | None:
        return None


def _head_of_branch(step: Step, source: Source, mapper: Mapper) -> list[Task]:
    """The first task of a branch; a SWITCH with what it leads to, so that both stand before the JOIN.

    Upstream's mapper of a SWITCH creates the chosen tasks with it, and clients see the order.
    """
    created = mapper(step, source)
    head = step.known(created[0].id)
    if head is None or head.head.task_type not in ("SWITCH", "DECISION") or not head.open:
        return created
    ended = TASKS_AT_HEAD[head.head.task_type].run(step, head)
    if ended is None:
        return created
    step.ran_early.add(ended.id)
    if ended.status not in TASK_SUCCESSFUL:
        return created
    chosen = switch.branch_of(step, source.base_ref, switch.chosen_case(step, ended))
    if chosen and chosen[0] not in step.header.skipped:
        step.expanded.add(ended.id)
        step.count(source.place.loop, 1)
        created += _head_of_branch(step, source_of(step.graph.nodes[chosen[0]], source.place), mapper)
    return created


TASKS_AT_HEAD: dict[str, switch.Switch | switch.Decision] = {
    "SWITCH": switch.Switch(),
    "DECISION": switch.Decision(),
}


class Join:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [create_join(step, source, source.workflow_task.join_on, inside=frozenset())]

    def run(self, step: Step, task: Task) -> Task | None:
        state = step.header.joins.get(task.ref)
        return complete_join(step, task) if state is not None and state.waiting == 0 else None


class ForkJoinDynamic:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        node = step.graph.nodes[source.base_ref]
        join = _join_after(
            step,
            node,
            "Dynamic join definition is not followed by a join task.  Check the workflow definition.",
        )
        given = evaluate(step, source, None)
        branches = dynamic_branches(step, source, given)
        refs = [task.task_reference_name for task in branches]
        _refuse_duplicates(step, refs, source.place.suffix)
        forked = {**given, "forkedTasks": refs, "forkedTaskDefs": [_shown(task) for task in branches]}
        created = [
            new_task(
                step,
                source,
                task_type="FORK",
                task_def_name="FORK",
                status=TaskStatus.COMPLETED,
                executed=True,
                input=forked,
            )
        ]
        place = source.place
        join_ref = join.ref + place.suffix
        for task in branches:
            step.count(place.loop, 1)
            branch = Source(
                workflow_task=task,
                template=compile_task(task),
                place=place,
                in_def=False,
                wire=Raw(msgspec.json.encode(wire(task))),
                joins=(join_ref,),
            )
            created += mapper(step, branch)
        step.count(place.loop, 1)
        created.append(create_join(step, source_of(join, place), refs, inside=frozenset(refs)))
        step.header.dynamic_forks += 1
        step.count(place.loop, -1)
        return created

    def run(self, step: Step, task: Task) -> Task | None:
        return None


# ------------------------------------------------------------------------------------------------------- JOIN
def create_join(step: Step, source: Source, join_on: Sequence[str], *, inside: frozenset[str]) -> Task:
    """The JOIN of a fork. `inside`: references of the fork being created, which cannot have ended."""
    suffix = source.place.suffix
    names = list(join_on)
    waiting = {ref + suffix for ref in names}
    elsewhere = [ref + suffix for ref in dict.fromkeys(names) if ref not in inside]
    if elsewhere:
        for ref, task in step.by_refs(elsewhere).items():
            if is_final(task):
                waiting.discard(ref)
    task = new_task(
        step,
        source,
        task_type="JOIN",
        task_def_name="JOIN",
        status=TaskStatus.IN_PROGRESS,
        input={"joinOn": names},
    )
    step.header.joins[task.ref] = JoinState(task_id=task.id, waiting=len(waiting))
    return task


def is_final(task: Task) -> bool:
    """Ended, and no further attempt follows."""
    return not task.open and not task.state.retried and task.state.executed


def joins_of(step: Step, task: Task) -> list[str]:
    """The JOIN instances that wait for this task."""
    node = step.node(task)
    if node is None:
        return [ref for ref in task.links.joins if ref in step.header.joins]
    found = []
    for base in node.joins:
        join = step.graph.nodes[base]
        ref = base + task.links.suffix if join.loop == node.loop else base
        if (join.loop == node.loop or not task.links.suffix) and ref in step.header.joins:
            found.append(ref)
    return found


def join_progress(step: Step, join_ref: str) -> Task | None:
    """One more reference has ended for good; gives the JOIN when that completed it."""
    state = step.header.joins[join_ref]
    state = replace(state, waiting=state.waiting - 1)
    step.header.joins[join_ref] = state
    step.touched = True
    if state.waiting > 0:
        return None
    if state.waiting < 0:
        raise InvariantError(f"{join_ref}: more references ended than it waits for")
    return complete_join(step, step.task(state.task_id))


def complete_join(step: Step, task: Task) -> Task:
    """Gather the outputs of the joined tasks. Source: conductor-oss/conductor, Join.execute."""
    suffix = task.links.suffix
    names: list[str] = step.document(task.head.input_data).get("joinOn", [])
    joined = step.by_refs([name + suffix for name in dict.fromkeys(names)])
    output: dict[str, Raw] = {}
    reasons: list[str] = []
    with_errors: list[str] = []
    failed = cancelled = False
    for name in dict.fromkeys(names):
        branch = joined.get(name + suffix)
        if branch is None:
            continue
        if bytes(branch.output) != b"{}":
            output[name + suffix] = branch.output
        optional = step.workflow_task(branch).optional
        reason = branch.state.reason_for_incompletion
        if branch.status not in TASK_SUCCESSFUL and not optional:
            failed = failed or branch.status is not TaskStatus.CANCELED
            cancelled = True
            if isinstance(reason, str):
                reasons.append(reason)
            if failed:
                break  # as upstream: the first failed one decides what the JOIN shows
        elif branch.status is TaskStatus.COMPLETED_WITH_ERRORS and optional:
            with_errors.append(f"{branch.head.task_def_name}/{branch.id}")
    del step.header.joins[task.ref]
    status, text = TaskStatus.COMPLETED, None
    if cancelled:
        status, text = (TaskStatus.FAILED if failed else TaskStatus.CANCELED), " ".join(reasons)
    elif with_errors:
        status, text = TaskStatus.COMPLETED_WITH_ERRORS, " ".join(with_errors) + " completed with errors"
    return step.move(task, status, reason=text, output=Raw(msgspec.json.encode(output)))


# ---------------------------------------------------------------------------------------------------- dynamic
def dynamic_branches(step: Step, source: Source, given: dict[str, Any]) -> list[WorkflowTask]:
    """The branches of a dynamic fork in the three forms upstream accepts, given inputs merged in.

    Raises:
        EndWorkflow: the input describes no branches; the reason says why, in upstream's words.
    """
    task = source.workflow_task
    if isinstance(given.get("forkTaskInputs"), list):
        branches = _from_inputs(step, task, given)
    elif task.dynamic_fork_join_tasks_param:
        branches = _from_join_tasks(task, given)
    else:
        branches = _from_tasks(task, given)
    if len(branches) > FORK_BRANCHES_MAX:
        raise _failed(
            f"{task.task_reference_name}: {len(branches)} branches are more than {FORK_BRANCHES_MAX}"
        )
    filled = []
    for branch, branch_input in branches:
        if branch.type in DEFINED_TYPES:
            raise _failed(
                f"{task.task_reference_name}: branch {branch.task_reference_name} is a {branch.type}, which "
                "cannot be a branch of a dynamic fork; put it into a sub-workflow"
            )
        if branch.task_definition is None and branch.type not in SYSTEM_TYPES:
            branch = replace(branch, task_definition=_task_def(step, branch.name))
        filled.append(replace(branch, input_parameters={**branch.input_parameters, **branch_input}))
    return filled


def _shown(task: WorkflowTask) -> dict[str, Any]:
    """A branch as the fork's own input lists it: without the task definition, which the branch itself has."""
    return wire(replace(task, task_definition=None))


def _task_def(step: Step, name: str) -> TaskDef:
    if name not in step.view.task_defs:
        raise FactsMissingError([TaskDefFact(name)])
    found: TaskDef | None = step.view.task_defs[name]
    return found if found is not None else TaskDef(name=name)


def _from_inputs(
    step: Step, task: WorkflowTask, given: dict[str, Any]
) -> list[tuple[WorkflowTask, dict[str, Any]]]:
    kind = given.get("forkTaskType") or "SIMPLE"
    name = given.get("forkTaskName") or (kind if kind in SYSTEM_TYPES else task.task_reference_name)
    workflow, version = given.get("forkTaskWorkflow"), given.get("forkTaskWorkflowVersion")
    if version is not None and not isinstance(version, str):
        raise _failed(f"{task.task_reference_name}: forkTaskWorkflowVersion must be a text, not {version!r}")
    prefix = f"_{task.task_reference_name}_{name}" if step.header.dynamic_forks else f"_{name}"
    branches = []
    for index, element in enumerate(given["forkTaskInputs"]):
        values = dict(element) if isinstance(element, dict) else {"input": element}
        branch_input = {**values, "__index": index}
        members = {key: value for key, value in values.items() if key in _TASK_MEMBERS}
        definition: dict[str, Any] = {
            "name": workflow or name,
            "taskReferenceName": f"{prefix}_{index}",
            "type": "SUB_WORKFLOW" if workflow else kind,
            "optional": task.optional,
            **members,
        }
        if workflow:
            definition["subWorkflowParam"] = {
                "name": workflow,
                "version": int(version) if version else None,
                "taskToDomain": values.get("taskToDomain"),
            }
        try:
            branches.append((decode(definition, WorkflowTask), branch_input))
        except MalformedBodyError as error:
            raise _failed(
                f"{task.task_reference_name}: forkTaskInputs[{index}] is no task: {error}"
            ) from error
    return branches


_TASK_MEMBERS = frozenset(
    {"optional", "permissive", "retryCount", "startDelay", "asyncComplete", "subWorkflowParam"}
)


def _from_join_tasks(task: WorkflowTask, given: dict[str, Any]) -> list[tuple[WorkflowTask, dict[str, Any]]]:
    parameter = task.dynamic_fork_join_tasks_param or ""
    listed = given.get(parameter)
    items = listed.get("dynamicTasks") if isinstance(listed, dict) else listed
    if not isinstance(items, list):
        raise _failed(
            f"Dynamic tasks could not be created. The value of {parameter} from task's input "
            f"{to_text(given)} has no dynamic tasks to be scheduled"
        )
    branches = []
    for item in items:
        if not isinstance(item, dict):
            raise _failed(f"Dynamic tasks could not be created. {parameter} holds {item!r}, which is no task")
        name = item.get("taskName") or item.get("workflowName") or ""
        branch = WorkflowTask(
            name=name,
            task_reference_name=item.get("referenceName") or name,
            type=item.get("type") or ("SUB_WORKFLOW" if item.get("workflowName") else "SIMPLE"),
            sub_workflow_param=SubWorkflowParams(name=item["workflowName"])
            if item.get("workflowName")
            else None,
        )
        branches.append((branch, item.get("input") or {}))
    return branches


def _from_tasks(task: WorkflowTask, given: dict[str, Any]) -> list[tuple[WorkflowTask, dict[str, Any]]]:
    tasks_name, inputs_name = (
        task.dynamic_fork_tasks_param or "",
        task.dynamic_fork_tasks_input_param_name or "",
    )
    listed, inputs = given.get(tasks_name), given.get(inputs_name)
    shown = to_text(listed)
    invalid = f"Input '{tasks_name}' is invalid. Cannot deserialize a list of Workflow Tasks from '{shown}'"
    if not isinstance(listed, list):
        raise _failed(invalid)
    if not isinstance(inputs, dict):
        raise _failed(
            "Input to the dynamically forked tasks is not a map -> expecting a map of K,V  "
            f"but found {to_text(inputs)}"
        )
    branches = []
    for item in listed:
        if not isinstance(item, dict):
            raise _failed(invalid)
        try:
            branch = decode(item, WorkflowTask)
        except MalformedBodyError as error:
            raise _failed(f"{invalid}: {error}") from error
        if not branch.task_reference_name:
            raise _failed(invalid)
        given_input = inputs.get(branch.task_reference_name)
        branches.append((branch, given_input if isinstance(given_input, dict) else {}))
    return branches


def _refuse_duplicates(step: Step, refs: list[str], suffix: str) -> None:
    seen: set[str] = set()
    known = step.by_refs([ref + suffix for ref in refs]) if step.header.dynamic_forks else {}
    for ref in refs:
        if not ref or ref in seen or ref in step.graph.nodes or ref + suffix in known:
            raise _failed(
                "No dynamic tasks could be created for the Workflow: "
                f"{step.header.name}.{step.header.version}/{step.header.workflow_id}, "
                f"attempted to create a duplicate task reference name: {ref}"
            )
        seen.add(ref)


def _failed(reason: str) -> EndWorkflow:
    return EndWorkflow(WorkflowStatus.FAILED, reason)


def _join_after(step: Step, node: Node, reason: str) -> Node:
    following = step.graph.nodes.get(node.next) if node.next is not None else None
    if following is None or following.type != "JOIN":
        raise EndWorkflow(WorkflowStatus.FAILED, reason)
    return following


def _refs_inside(step: Step, fork: Node) -> frozenset[str]:
    refs: set[str] = set()
    todo = [ref for branch in fork.branches for ref in branch]
    while todo:
        ref = todo.pop()
        refs.add(ref)
        node = step.graph.nodes[ref]
        todo += [*node.default, *node.body]
        todo += [inner for case in node.cases.values() for inner in case]
        todo += [inner for branch in node.branches for inner in branch]
    return frozenset(refs)
