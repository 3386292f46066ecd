"""Examples for the OpenAPI document: by shape, and by route where a body has no shape of its own.

They tell one story: the workflow `hello` greets somebody through a worker that polls for `greet`.
"""

from __future__ import annotations

from typing import Any

WORKFLOW_ID = "019a3f52-8c1e-7001-9b2f-5d6a1c0e7f31"
TASK_ID = "019a3f52-8c1e-7002-8e41-0b9d7a55c2f8"
AT_MS = 1_762_000_000_000
AT_ISO = "2025-11-01T12:26:40.000Z"

WORKFLOW_TASK = {
    "name": "greet",
    "taskReferenceName": "g",
    "type": "SIMPLE",
    "inputParameters": {"who": "${workflow.input.who}"},
}
WORKFLOW_DEF = {
    "name": "hello",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [WORKFLOW_TASK],
    "outputParameters": {"text": "${g.output.text}"},
    "ownerEmail": "author@example.com",
}
TASK_DEF = {
    "name": "greet",
    "retryCount": 3,
    "retryLogic": "EXPONENTIAL_BACKOFF",
    "retryDelaySeconds": 2,
    "responseTimeoutSeconds": 30,
    "timeoutSeconds": 60,
    "timeoutPolicy": "RETRY",
    "ownerEmail": "author@example.com",
}
TASK = {
    "taskType": "greet",
    "status": "IN_PROGRESS",
    "inputData": {"who": "Ada"},
    "outputData": {},
    "referenceTaskName": "g",
    "taskDefName": "greet",
    "taskId": TASK_ID,
    "workflowInstanceId": WORKFLOW_ID,
    "workflowType": "hello",
    "retryCount": 0,
    "seq": 1,
    "pollCount": 1,
    "scheduledTime": AT_MS,
    "startTime": AT_MS + 3,
    "endTime": 0,
    "updateTime": AT_MS + 3,
    "retried": False,
    "executed": False,
    "callbackFromWorker": True,
    "callbackAfterSeconds": 0,
    "responseTimeoutSeconds": 30,
    "startDelayInSeconds": 0,
    "workflowPriority": 0,
    "iteration": 0,
    "queueWaitTime": 3,
    "loopOverTask": False,
    "workflowTask": WORKFLOW_TASK,
    "workerId": "worker-1",
}
WORKFLOW = {
    "workflowId": WORKFLOW_ID,
    "workflowName": "hello",
    "workflowVersion": 1,
    "status": "RUNNING",
    "createTime": AT_MS,
    "startTime": AT_MS,
    "updateTime": AT_MS,
    "endTime": 0,
    "lastRetriedTime": 0,
    "tasks": [TASK],
    "input": {"who": "Ada"},
    "output": {},
    "variables": {},
    "taskToDomain": {},
    "failedReferenceTaskNames": [],
    "failedTaskNames": [],
    "priority": 0,
    "workflowDefinition": WORKFLOW_DEF,
    "correlationId": "order-17",
}
WORKFLOW_SUMMARY = {
    "workflowType": "hello",
    "version": 1,
    "workflowId": WORKFLOW_ID,
    "status": "COMPLETED",
    "startTime": AT_ISO,
    "updateTime": AT_ISO,
    "endTime": AT_ISO,
    "correlationId": "order-17",
    "input": "{who=Ada}",
    "output": "{text=Hello Ada}",
    "inputSize": 9,
    "outputSize": 16,
    "executionTime": 12,
    "priority": 0,
}
TASK_SUMMARY = {
    "taskId": TASK_ID,
    "taskType": "greet",
    "taskDefName": "greet",
    "workflowId": WORKFLOW_ID,
    "workflowType": "hello",
    "status": "COMPLETED",
    "scheduledTime": AT_ISO,
    "startTime": AT_ISO,
    "updateTime": AT_ISO,
    "endTime": AT_ISO,
    "executionTime": 9,
    "queueWaitTime": 3,
    "input": "{who=Ada}",
    "output": "{text=Hello Ada}",
}
TASK_RESULT = {
    "workflowInstanceId": WORKFLOW_ID,
    "taskId": TASK_ID,
    "workerId": "worker-1",
    "status": "COMPLETED",
    "outputData": {"text": "Hello Ada"},
}
START = {"name": "hello", "version": 1, "input": {"who": "Ada"}, "correlationId": "order-17"}
SIGNAL_RESPONSE = {
    "responseType": "TARGET_WORKFLOW",
    "targetWorkflowId": WORKFLOW_ID,
    "targetWorkflowStatus": "COMPLETED",
    "requestId": "1f0e9c52",
    "workflowId": WORKFLOW_ID,
    "signalTimeout": False,
    "input": {"who": "Ada"},
    "output": {"text": "Hello Ada"},
    "status": "COMPLETED",
    "createTime": AT_MS,
    "updateTime": AT_MS + 12,
    "priority": 0,
    "variables": {},
    "tasks": [],
}
TAG = {"key": "team", "type": "METADATA", "value": "video"}
SCHEMA = {
    "name": "greeting",
    "version": 1,
    "type": "JSON",
    "data": {"type": "object", "required": ["who"], "properties": {"who": {"type": "string"}}},
}
SCHEDULE = {
    "name": "every-morning",
    "cronExpression": "0 0 7 * * *",
    "zoneId": "Europe/Berlin",
    "startWorkflowRequest": START,
}
EVENT_HANDLER = {
    "name": "greet-on-order",
    "event": "conductor:orders",
    "active": True,
    "actions": [
        {"action": "start_workflow", "start_workflow": {"name": "hello", "input": {"who": "${who}"}}}
    ],
}

SHAPES: dict[str, Any] = {
    "WorkflowDef": WORKFLOW_DEF,
    "TaskDef": TASK_DEF,
    "Task": TASK,
    "Workflow": WORKFLOW,
    "WorkflowSearchResult": {"totalHits": 1, "results": [WORKFLOW_SUMMARY]},
    "FullWorkflowSearchResult": {"totalHits": 1, "results": [WORKFLOW | {"tasks": []}]},
    "TaskSummarySearchResult": {"totalHits": 1, "results": [TASK_SUMMARY]},
    "TaskSearchResult": {"totalHits": 1, "results": [TASK]},
    "TaskResult": TASK_RESULT,
    "StartWorkflowRequest": START,
    "WorkflowTestRequest": {
        "name": "hello",
        "version": 1,
        "input": {"who": "Ada"},
        "taskRefToMockOutput": {"g": [{"status": "COMPLETED", "output": {"text": "Hello Ada"}}]},
    },
    "SignalResponse": SIGNAL_RESPONSE,
    "WorkflowStateUpdate": {
        "taskReferenceName": "g",
        "taskResult": {"status": "COMPLETED", "outputData": {"text": "Hello Ada"}},
        "variables": {"greeted": True},
    },
    "WorkflowStatusAnswer": {"workflowId": WORKFLOW_ID, "status": "RUNNING", "correlationId": "order-17"},
    "RerunWorkflowRequest": {"reRunFromTaskId": TASK_ID, "taskInput": {"who": "Grace"}},
    "SkipTaskRequest": {"taskInput": {}, "taskOutput": {"text": "skipped"}},
    "CorrelationIdsSearchRequest": {"workflowNames": ["hello"], "correlationIds": ["order-17"]},
    "BulkResponse": {
        "bulkErrorResults": {"nobody": "No such workflow found by id: nobody"},
        "bulkSuccessfulResults": [WORKFLOW_ID],
    },
    "PollData": {"queueName": "greet", "workerId": "worker-1", "lastPollTime": AT_MS},
    "TaskExecLog": {"log": "greeting Ada", "taskId": TASK_ID, "createdTime": AT_MS},
    "ExternalLocation": {
        "uri": "http://127.0.0.1:8080/api/payloads/task_output/5d41402abc4b2a76b9719d911017c592.json"
        "?expires=1784620800000&signature=2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "path": "task_output/5d41402abc4b2a76b9719d911017c592.json",
    },
    "WorkflowDefSummary": {"name": "hello", "version": 1, "createTime": AT_MS},
    "DefinitionWarnings": {
        "warnings": [
            {"path": "tasks[1]", "message": "join j waits for nobody, but no task has this reference name"}
        ]
    },
    "SchemaDef": SCHEMA,
    "Tag": TAG,
    "TaggedName": {"name": "mail_password", "tags": [TAG]},
    "EnvironmentVariable": {"name": "REGION", "value": "eu-central-1"},
    "WorkflowSchedule": SCHEDULE,
    "EventHandler": EVENT_HANDLER,
    "EventExecution": {
        "id": "order-17_0",
        "messageId": "order-17",
        "name": "greet-on-order",
        "event": "conductor:orders",
        "created": AT_MS,
        "status": "COMPLETED",
        "action": "start_workflow",
        "output": {"workflowId": WORKFLOW_ID},
    },
    "HealthStatus": {"healthResults": [], "suppressedHealthResults": [], "healthy": True},
    "Liveness": {"status": "ok"},
    "Readiness": {"status": "ready", "checks": {"store": "ok", "storage": "ok"}},
}

_SIZES = {"greet": 3, "east:greet": 1}
_CORRELATED = {"order-17": [WORKFLOW | {"tasks": []}]}
_OUTPUT = {"text": "Hello Ada"}

REQUESTS: dict[str, Any] = {
    "PUT /api/payloads/{kind}/{name}": _OUTPUT,
    "POST /api/workflow/{name}": {"who": "Ada"},
    "POST /api/workflow/execute/{name}": {"who": "Ada"},
    "POST /api/workflow/{workflow_id}/variables": {"greeted": True},
    "POST /api/workflow/{workflow_id}/jump/{ref}": {"who": "Grace"},
    "POST /api/workflow/{workflow_id}/messages": {"text": "good news"},
    "POST /api/workflow/{name}/correlated": ["order-17"],
    "POST /api/tasks/{workflow_id}/{ref}/{status}": _OUTPUT,
    "POST /api/tasks/{workflow_id}/{ref}/{status}/sync": _OUTPUT,
    "POST /api/tasks/{workflow_id}/{status}/signal": {"approved": True},
    "POST /api/tasks/{workflow_id}/{status}/signal/sync": {"approved": True},
    "POST /api/queue/update/{workflow_id}/{ref}/{status}": {"approved": True},
    "POST /api/queue/update/{workflow_id}/task/{task_id}/{status}": {"approved": True},
}
"""JSON bodies without a shape, by route. Lists of ids have ID_LIST."""

ID_LIST = [WORKFLOW_ID]
NAME_LIST = ["every-morning"]

ANSWERS: dict[str, Any] = {
    "GET /api/payloads/{kind}/{name}": _OUTPUT,
    "GET /api/workflow/running/{name}": [WORKFLOW_ID],
    "POST /api/workflow/{name}/correlated": _CORRELATED,
    "POST /api/workflow/correlated/batch": _CORRELATED,
    "GET /api/workflow/search/counts": {"RUNNING": 2, "COMPLETED": 40, "FAILED": 1},
    "GET /api/workflow/{workflow_id}/history": {"recording": {}},
    "GET /api/tasks/queue/sizes": _SIZES,
    "GET /api/tasks/queue/size": 3,
    "GET /api/tasks/queue/all": _SIZES,
    "GET /api/tasks/queue/all/verbose": {"greet": {"a": {"size": 3, "uacked": 1}}},
    "GET /api/metadata/workflow/names": ["hello"],
    "GET /api/metadata/workflow/names-and-versions": {
        "hello": [{"name": "hello", "version": 1, "createTime": AT_MS}]
    },
    "GET /api/secrets": ["mail_password"],
    "POST /api/secrets": ["mail_password"],
    "GET /api/secrets/{key}/exists": True,
    "GET /api/admin/config": {"version": "1.0.0", "buildDate": "", "python": "3.11.9"},
    "GET /api/admin/queues": {"COMPLETED": 0, "FAILED": 0},
    "GET /api/queue/size": {"COMPLETED": 0, "FAILED": 0},
    "GET /api/queue/": {"COMPLETED": "COMPLETED", "FAILED": "FAILED"},
    "GET /api/scheduler/schedules/{name}/tags": [TAG],
    "GET /api/scheduler/admin/requeue": {},
    "GET /api/scheduler/admin/pause": {},
    "GET /api/scheduler/admin/resume": {},
    "GET /api/scheduler/nextFewSchedules": [AT_MS, AT_MS + 86_400_000],
    "GET /api/scheduler/schedules/search": {"totalHits": 1, "results": [SCHEDULE]},
    "GET /api/scheduler/search/executions": {
        "totalHits": 1,
        "results": [
            {
                "executionId": "019a3f52-8c1e-7003-b7c2-3c1f0a9e4d55",
                "scheduleName": "every-morning",
                "scheduledTime": AT_MS,
                "executionTime": AT_MS + 20,
                "workflowName": "hello",
                "workflowId": WORKFLOW_ID,
                "state": "EXECUTED",
            }
        ],
    },
}
"""JSON answers without a shape, by route."""

TEXTS: dict[str, str] = {
    "POST /api/tasks": TASK_ID,
    "POST /api/tasks/{workflow_id}/{ref}/{status}": TASK_ID,
    "POST /api/tasks/queue/requeue/{task_type}": "3",
    "POST /api/workflow": WORKFLOW_ID,
    "POST /api/workflow/{name}": WORKFLOW_ID,
    "POST /api/workflow/{workflow_id}/rerun": WORKFLOW_ID,
    "POST /api/workflow/{workflow_id}/messages": "019a3f52-8c1e-7004-8a10-6f7b2d9c1e02",
    "POST /api/admin/sweep/requeue/{workflow_id}": f"false.{WORKFLOW_ID}",
    "POST /api/admin/consistency/verifyAndRepair/{workflow_id}": "false",
    "GET /api/environment/{key}": "eu-central-1",
    "GET /api/version": "1.0.0",
    "GET /metrics": "showrunner_tasks_dispatched_total 42.0\n",
}
"""Bare texts that are answered, by route."""

SENT_TEXTS: dict[str, str] = {
    "POST /api/tasks/{task_id}/log": "greeting Ada",
    "PUT /api/secrets/{key}": "the value, in place of which tasks name the secret",
    "PUT /api/environment/{key}": "eu-central-1",
}

PARAMETERS: dict[str, Any] = {
    "workflow_id": WORKFLOW_ID,
    "task_id": TASK_ID,
    "name": "hello",
    "version": 1,
    "ref": "g",
    "task_type": "greet",
    "taskType": "greet",
    "status": "COMPLETED",
    "correlation_id": "order-17",
    "key": "mail_password",
    "what": "workflow",
    "event": "conductor:orders",
    "query": "workflowType IN (hello) AND status = FAILED",
    "sort": "startTime:DESC",
    "cronExpression": "0 0 7 * * *",
    "payloadType": "TASK_OUTPUT",
    "operation": "WRITE",
    "path": "greetings/ada.json",
}
"""Parameters that are easier to show than to explain, by name."""


def attach(described: dict[str, Any]) -> None:
    """Put an example beside every body and answer of the document that has one, and into its parameters."""
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path}"
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in PARAMETERS:
                    parameter.setdefault("example", PARAMETERS[parameter["name"]])
            for media, content in operation.get("requestBody", {}).get("content", {}).items():
                _show(media, content, REQUESTS.get(route, _listed(route, content)), SENT_TEXTS.get(route))
            for answer in operation["responses"].values():
                for media, content in answer.get("content", {}).items():
                    _show(media, content, ANSWERS.get(route), TEXTS.get(route))


def _show(media: str, content: dict[str, Any], own: Any, text: str | None) -> None:
    """A shape's example, else the route's own."""
    schema = content.get("schema", {})
    one, many = shape_of(schema), shape_of(schema.get("items", {}))
    if one in SHAPES:
        content["example"] = SHAPES[one]
    elif many in SHAPES:
        content["example"] = [SHAPES[many]]
    elif media == "text/plain" and text is not None:
        content["example"] = text
    elif media != "text/plain" and own is not None:
        content["example"] = own


def shape_of(schema: dict[str, Any]) -> str:
    """The name of the shape that a schema refers to, else an empty text."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _listed(route: str, content: dict[str, Any]) -> Any:
    """Lists of ids, names and tags, which many routes take."""
    schema = content.get("schema", {})
    if schema.get("type") != "array":
        return None
    if schema.get("items", {}).get("type") == "object":
        return [TAG]
    return NAME_LIST if "/scheduler/" in route else ID_LIST
