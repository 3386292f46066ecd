"""Every type of task the engine runs itself, by its name. Any other name is a worker's task."""

from engine.core.mapping import TaskType
from engine.core.tasks.calls import ServerCall
from engine.core.tasks.do_while import DoWhile
from engine.core.tasks.event import Event
from engine.core.tasks.exclusive_join import ExclusiveJoin
from engine.core.tasks.forks import ForkJoin, ForkJoinDynamic, Join
from engine.core.tasks.inbox import PullWorkflowMessages
from engine.core.tasks.inline import Inline, Noop, SetVariable, Terminate
from engine.core.tasks.simple import Dynamic, Simple
from engine.core.tasks.start_workflow import StartWorkflow
from engine.core.tasks.sub_workflow import SubWorkflow
from engine.core.tasks.switch import Decision, Switch
from engine.core.tasks.transforms import JsonJqTransform, Lambda
from engine.core.tasks.waits import Human, Wait

WORKER = Simple()

TASK_TYPES: dict[str, TaskType] = {
    "DECISION": Decision(),
    "DO_WHILE": DoWhile(),
    "DYNAMIC": Dynamic(),
    "EVENT": Event(),
    "EXCLUSIVE_JOIN": ExclusiveJoin(),
    "FORK_JOIN": ForkJoin(),
    "FORK_JOIN_DYNAMIC": ForkJoinDynamic(),
    "HTTP": ServerCall("HTTP"),
    "HUMAN": Human(),
    "INLINE": Inline(),
    "JOIN": Join(),
    "JSON_JQ_TRANSFORM": JsonJqTransform(),
    "KAFKA_PUBLISH": ServerCall("KAFKA_PUBLISH"),
    "LAMBDA": Lambda(),
    "NOOP": Noop(),
    "PULL_WORKFLOW_MESSAGES": PullWorkflowMessages(),
    "SET_VARIABLE": SetVariable(),
    "START_WORKFLOW": StartWorkflow(),
    "SUB_WORKFLOW": SubWorkflow(),
    "SWITCH": Switch(),
    "TERMINATE": Terminate(),
    "WAIT": Wait(),
}
