"""Every type of task the engine runs itself, by its name. Any other name is a worker's task."""

from engine.core.mapping import TaskType
from engine.core.tasks.do_while import DoWhile
from engine.core.tasks.forks import ForkJoin, ForkJoinDynamic, Join
from engine.core.tasks.inline import Inline, Noop, SetVariable, Terminate
from engine.core.tasks.simple import Dynamic, Simple
from engine.core.tasks.sub_workflow import SubWorkflow
from engine.core.tasks.switch import Decision, Switch
from engine.core.tasks.waits import Human, Wait

WORKER = Simple()

TASK_TYPES: dict[str, TaskType] = {
    "DECISION": Decision(),
    "DO_WHILE": DoWhile(),
    "DYNAMIC": Dynamic(),
    "FORK_JOIN": ForkJoin(),
    "FORK_JOIN_DYNAMIC": ForkJoinDynamic(),
    "HUMAN": Human(),
    "INLINE": Inline(),
    "JOIN": Join(),
    "NOOP": Noop(),
    "SET_VARIABLE": SetVariable(),
    "SUB_WORKFLOW": SubWorkflow(),
    "SWITCH": Switch(),
    "TERMINATE": Terminate(),
    "WAIT": Wait(),
}

NOT_SERVED_YET = frozenset(
    {
        "EXCLUSIVE_JOIN",
        "EVENT",
        "HTTP",
        "JSON_JQ_TRANSFORM",
        "KAFKA_PUBLISH",
        "LAMBDA",
        "PULL_WORKFLOW_MESSAGES",
        "START_WORKFLOW",
    }
)
"""System types this version does not run; a definition with one is refused when it is registered."""
