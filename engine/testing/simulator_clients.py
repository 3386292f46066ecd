"""The outside world of a simulation: workers that work, die and repeat themselves, people who interfere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from engine.core.errors import InvariantError, NotFoundError, RefusedError, StoreError
from engine.core.statuses import WORKFLOW_OPEN, WorkflowStatus
from engine.services.executions import StartRequest, TaskUpdate
from engine.testing.simulator_audit import Audit, PollRecord
from engine.testing.simulator_servers import Engine, GoneError, Server
from engine.testing.simulator_store import SIMULATED

T = TypeVar("T")

REPORTS_MAX = 30
"""Times a worker sends a result before it gives up; the faults of a simulation end long before."""

SETTLED_S = 2.0
"""How long after its end a poll's writes may still be under way."""


class Habits(Struct, kw_only=True):
    """How workers and networks misbehave, as probabilities; all zero when the quiet begins."""

    fails: float = 0.0
    fails_for_good: float = 0.0
    dies: float = 0.0
    in_progress: float = 0.0
    extends: float = 0.0
    doubles: float = 0.0
    repeats: float = 0.0
    late: float = 0.0
    hangs_up: float = 0.0
    loses_answer: float = 0.0
    wait_s: float = 2.0
    """A piece of work takes up to so long."""

    def stop(self) -> None:
        for name in self.__struct_fields__:
            if name != "wait_s":
                setattr(self, name, 0.0)
        self.wait_s = 0.2


class Outside:
    """What everybody outside shares."""

    def __init__(self, servers: Sequence[Server], audit: Audit, dice: Random, habits: Habits) -> None:
        self.servers = servers
        self.audit = audit
        self.dice = dice
        self.habits = habits
        self.quiet = False

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    async def ask(self, request: Callable[[Engine], Awaitable[T]], server: Server | None = None) -> T:
        """Ask some server over a network that loses answers.

        Raises:
            GoneError, EngineError: as Server.call.
        """
        server = server or self.dice.choice(self.servers)
        await asyncio.sleep(self.dice.random() * 0.005)
        try:
            answer = await server.call(request)
        except InvariantError as bug:
            self.audit.fail(f"a request met our own bug: {bug}")
            raise
        except StoreError as error:
            if SIMULATED not in f"{error}{error.__cause__}" and "conflicts in a row" not in str(error):
                self.audit.fail(f"a request met an error that nobody simulated: {error}")
            raise
        if self.chance(self.habits.loses_answer):
            raise GoneError(server.name)
        return answer


def _condition(server: Server) -> tuple[int, int]:
    """Changes whenever something happens to the server or to its way to the store."""
    return server.life + (not server.up), server.link.hurt


def _excuse(record: PollRecord, server: Server, before: tuple[int, int]) -> None:
    """A fault around the poll explains a lease that nobody got."""
    record.clean = record.clean and _condition(server) == before


class Worker:
    """Polls for ever, and works on what it gets."""

    def __init__(self, number: int, outside: Outside, task_types: Sequence[str]) -> None:
        self.name = f"worker{number}"
        self.outside = outside
        self.task_types = task_types
        self._jobs: set[asyncio.Task[None]] = set()
        self._polls = 0

    async def run(self) -> None:
        while True:
            try:
                documents = await self._poll()
            except (GoneError, StoreError, RefusedError, InvariantError):
                await asyncio.sleep(0.3)
                continue
            for document in documents:
                job = asyncio.get_running_loop().create_task(self._work(document))
                self._jobs.add(job)
                job.add_done_callback(self._jobs.discard)
            await asyncio.sleep(0.05)

    async def _poll(self) -> list[dict[str, Any]]:
        outside, dice = self.outside, self.outside.dice
        server = dice.choice(outside.servers)
        self._polls += 1
        poll_id = f"{self.name}.{self._polls}"
        record = outside.audit.polls[poll_id] = PollRecord()
        before = _condition(server)
        task_type, count = dice.choice(self.task_types), dice.choice((1, 1, 3))
        timeout_ms = 1_000 if outside.quiet else dice.choice((0, 100, 1_000))
        polling = outside.ask(
            lambda engine: engine.queues.poll(
                task_type, domain=None, worker_id=poll_id, count=count, timeout_ms=timeout_ms
            ),
            server,
        )
        try:
            if outside.chance(outside.habits.hangs_up):
                async with asyncio.timeout(dice.choice((0.01, 0.05, timeout_ms / 1000)) * dice.random()):
                    answers = await polling
            else:
                answers = await polling
        except TimeoutError as gone:
            raise GoneError(server.name) from gone
        except (GoneError, StoreError):
            record.clean = False
            raise
        finally:
            loop = asyncio.get_running_loop()
            record.ended_s = loop.time()
            loop.call_later(SETTLED_S, _excuse, record, server, before)
        documents: list[dict[str, Any]] = [msgspec.json.decode(answer) for answer in answers]
        for one in documents:
            response_s = one.get("responseTimeoutSeconds", 0)
            outside.audit.handed(one["taskId"], one["referenceTaskName"], poll_id, response_s)
        return documents

    async def _work(self, document: dict[str, Any]) -> None:
        outside, habits = self.outside, self.outside.habits
        if outside.chance(habits.dies):
            outside.audit.note(f"{self.name} dies over {document['referenceTaskName']}")
            return
        await asyncio.sleep(outside.dice.random() * habits.wait_s)
        if outside.chance(habits.extends):
            await self._report(document, "IN_PROGRESS", extend=True)
            await asyncio.sleep(outside.dice.random() * habits.wait_s)
        if outside.chance(habits.late):
            await asyncio.sleep(outside.dice.random() * 60)
        status = "COMPLETED"
        if outside.chance(habits.fails):
            status = "FAILED"
        elif outside.chance(habits.fails_for_good):
            status = "FAILED_WITH_TERMINAL_ERROR"
        elif outside.chance(habits.in_progress):
            status = "IN_PROGRESS"
        if outside.chance(habits.doubles):
            server = outside.dice.choice(outside.servers)
            await asyncio.gather(*(self._report(document, status, server=server) for _ in range(2)))
        else:
            await self._report(document, status)
        while outside.chance(habits.repeats):
            await asyncio.sleep(outside.dice.random() * 20)
            await self._report(document, outside.dice.choice((status, "COMPLETED", "FAILED")))

    async def _report(
        self, document: dict[str, Any], status: str, *, extend: bool = False, server: Server | None = None
    ) -> None:
        """Send until it is acknowledged; at first to `server`."""
        outside, task_id = self.outside, document["taskId"]
        update = TaskUpdate(
            workflow_instance_id=document["workflowInstanceId"],
            task_id=task_id,
            status=status,
            output_data=Raw(b'{"n":1}'),
            worker_id=self.name,
            callback_after_seconds=1 if status == "IN_PROGRESS" and not extend else None,
            extend_lease=extend or None,
        )
        if not extend:
            outside.audit.let_go(task_id)
        for _ in range(REPORTS_MAX):
            try:
                outcome = await outside.ask(lambda engine: engine.executions.update(update), server)
            except (GoneError, StoreError):
                server = None
                await asyncio.sleep(0.5)
                continue
            except (RefusedError, InvariantError):
                return  # restarted or rerun since: the task is gone
            if not extend and status != "IN_PROGRESS" and outcome.ended:
                await outside.audit.acknowledged_update(document["workflowInstanceId"], task_id)
            return


class Starter:
    """Starts workflows, now and then."""

    def __init__(self, outside: Outside, names: Sequence[str], *, count: int, within_s: float) -> None:
        self.outside = outside
        self.names = names
        self.count = count
        self.within_s = within_s

    async def run(self) -> None:
        outside, dice = self.outside, self.outside.dice
        for number in range(self.count):
            await asyncio.sleep(dice.random() * self.within_s / self.count)
            request = StartRequest(name=dice.choice(self.names), input={"a": 1}, priority=dice.choice((0, 5)))
            if outside.chance(0.5):
                request.idempotency_key, request.idempotency_strategy = f"key{number}", "RETURN_EXISTING"
            await self._start(request)

    async def _start(self, request: StartRequest) -> None:
        """Once; with a key until it is acknowledged, and then once more."""
        acknowledged, workflow_id = 0, ""
        for _ in range(REPORTS_MAX):
            try:
                answer = await self.outside.ask(lambda engine: engine.executions.start(request))
            except (GoneError, StoreError):
                if request.idempotency_key is None:
                    return
                await asyncio.sleep(0.5)
                continue
            self.outside.audit.acknowledged_start(answer)
            if workflow_id not in {"", answer}:
                self.outside.audit.fail(f"{request.idempotency_key} gave {workflow_id}, then {answer}")
            acknowledged, workflow_id = acknowledged + 1, answer
            if request.idempotency_key is None or acknowledged == 2:
                return


FOR_RUNNING = ("pause", "pause", "terminate", "skip", "decide")
FOR_ENDED = ("retry", "retry", "retry_deep", "rerun", "rerun_from", "rerun_from", "restart")


class Operator:
    """Pauses, terminates, retries and restarts whatever it finds, at any moment."""

    def __init__(self, outside: Outside, *, every_s: float) -> None:
        self.outside = outside
        self.every_s = every_s

    async def run(self) -> None:
        while not self.outside.quiet:
            await asyncio.sleep(self.outside.dice.random() * 2 * self.every_s)
            known = sorted(self.outside.audit.workflows)
            if known and not self.outside.quiet:
                await self._operate(self.outside.dice.choice(known))

    async def _operate(self, workflow_id: str) -> None:
        outside, dice = self.outside, self.outside.dice
        tasks = outside.audit.tasks_of(workflow_id)
        running = outside.audit.workflows[workflow_id] in WORKFLOW_OPEN
        fitting = FOR_RUNNING if running else FOR_ENDED
        kind = dice.choice(fitting if outside.chance(0.8) else FOR_RUNNING + FOR_ENDED)
        task = dice.choice(tasks) if tasks else None
        outside.audit.note(f"operator: {kind} {outside.audit.name(workflow_id)} {task.ref if task else ''}")

        async def operate(engine: Engine) -> None:
            do = engine.executions
            match kind:
                case "pause":
                    await do.pause(workflow_id)
                case "terminate":
                    await do.terminate(workflow_id, "enough")
                case "retry":
                    await do.retry(workflow_id)
                case "retry_deep":
                    await do.retry(workflow_id, resume_subworkflow_tasks=True)
                case "rerun":
                    await do.rerun(workflow_id)
                case "rerun_from":
                    await do.rerun(workflow_id, from_task_id=task.id if task else None)
                case "restart":
                    await do.restart(workflow_id)
                case "skip":
                    await do.skip_task(workflow_id, dice.choice(("t1", "t2", "t3")), {}, {})
                case _:
                    await do.decide(workflow_id)

        try:
            await outside.ask(operate)
        except (GoneError, StoreError, RefusedError, InvariantError) as error:
            outside.audit.note(f"operator: refused: {error}")


class Signaller:
    """Answers HUMAN tasks and waits without an end, and resumes what is paused."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    async def run(self) -> None:
        outside, dice = self.outside, self.outside.dice
        while True:
            await asyncio.sleep(0.5 if outside.quiet else dice.random() * 8)
            for workflow_id, status in list(outside.audit.workflows.items()):
                if status not in WORKFLOW_OPEN:
                    continue
                if status is WorkflowStatus.PAUSED and (outside.quiet or outside.chance(0.3)):
                    await self._try(lambda engine: engine.executions.resume(workflow_id))  # noqa: B023 - asked before the next round
                for task in outside.audit.tasks_of(workflow_id):
                    asked = task.head.task_type == "HUMAN" or (
                        task.head.task_type == "WAIT" and not task.links.wait_until_ms
                    )
                    if task.open and asked and (outside.quiet or outside.chance(0.5)):
                        update = TaskUpdate(
                            workflow_instance_id=workflow_id, task_id=task.id, status="COMPLETED"
                        )
                        await self._try(lambda engine: engine.executions.update(update))  # noqa: B023 - as above

    async def _try(self, request: Callable[[Engine], Awaitable[object]]) -> None:
        try:
            await self.outside.ask(request)
        except (GoneError, StoreError, RefusedError, NotFoundError, InvariantError):
            return
