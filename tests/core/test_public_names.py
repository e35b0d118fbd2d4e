"""What users import: the names are pinned, and importing them loads no more than it must."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PINNED = {
    "flowyard": {
        *("Flow", "State", "Task", "__version__", "allow_failure", "flow", "get_run_logger", "quote", "tags", "task"),
        *("get_client", "pause_flow_run", "resume_flow_run", "suspend_flow_run", "unmapped"),
    },
    "flowyard.input": {
        *("AutomaticRunInput", "GetAutomaticInputHandler", "GetInputHandler", "RunInput", "RunInputMetadata"),
        *("keyset_from_base_key", "keyset_from_paused_state", "receive_input", "run_input_subclass_from_type"),
        "send_input",
    },
    "flowyard.events": {"Event", "ReceivedEvent", "RelatedResource", "Resource", "emit_event"},
    "flowyard.pausing": {"pause_flow_run", "resume_flow_run", "suspend_flow_run"},
    "flowyard.flows": {
        *("Flow", "flow", "load_flow_from_entrypoint", "load_flow_from_script", "load_flows_from_script"),
        "select_flow",
    },
    "flowyard.tasks": {"Task", "exponential_backoff", "task", "task_input_hash"},
    "flowyard.cache_policies": {
        *("DEFAULT", "FLOW_PARAMETERS", "INPUTS", "NONE", "NO_CACHE", "RUN_ID", "TASK_SOURCE", "task_input_hash"),
        *("CacheKeyFnPolicy", "CachePolicy", "CompoundCachePolicy", "FlowParameters", "Inputs", "KeyComponent"),
        *("NoCache", "RunId", "TaskSource"),
    },
    "flowyard.futures": {
        *("FlowyardFuture", "PrefectFuture", "AsyncFlowyardFuture", "as_completed", "wait"),
        *("resolve_futures_to_data", "resolve_futures_to_states"),
        *("BatchedFutureSequence", "DoneAndNotDone", "FutureSequence", "FutureStream"),
    },
    "flowyard.states": {
        *("AwaitingRetry", "Cancelled", "Cancelling", "Completed", "Crashed", "Failed", "Late", "Paused", "Pending"),
        *("Retrying", "Running", "Scheduled", "Suspended", "State", "StateDetails", "StateGroup", "StateType"),
        *("get_state_exception", "get_state_result", "is_state", "is_state_iterable", "raise_state_exception"),
    },
    "flowyard.client": {"FlowyardClient", "PrefectClient", "SyncFlowyardClient", "SyncPrefectClient", "get_client"},
    "flowyard.client.orchestration": {
        *("FlowyardClient", "PrefectClient", "SyncFlowyardClient", "SyncPrefectClient", "get_client"),
        *("SERVER_API_VERSION", "ServerType"),
    },
    "flowyard.transactions": {"Transaction", "get_transaction", "transaction"},
    "flowyard.filesystems": {
        *("Azure", "GCS", "GitHub", "LocalFileSystem", "RemoteFileSystem", "S3", "SMB"),
        *("ReadableDeploymentStorage", "ReadableFileSystem", "WritableDeploymentStorage", "WritableFileSystem"),
    },
    "flowyard.task_runners": {
        *("BaseTaskRunner", "Capabilities", "ConcurrentTaskRunner", "Handle", "Outcome", "ProcessPoolTaskRunner"),
        *("SequentialTaskRunner", "TaskCall", "TaskConcurrencyType", "TaskRunner"),
    },
}


@pytest.mark.parametrize(("module", "names"), PINNED.items(), ids=list(PINNED))
def test_a_module_offers_exactly_these_names(module, names):
    loaded = importlib.import_module(module)
    assert set(loaded.__all__) == names
    assert all(hasattr(loaded, name) for name in names)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("flowyard.client.base", "PrefectHTTPStatusError"),
        ("flowyard.client.collections", "get_collections_metadata_client"),
        ("flowyard.client.schemas", "FlowRun"),
        ("flowyard.client.schemas", "State"),
        ("flowyard.client.schemas.actions", "DeploymentScheduleCreate"),
        ("flowyard.client.schemas.filters", "FlowRunFilter"),
        ("flowyard.client.schemas.objects", "FlowRun"),
        ("flowyard.client.schemas.responses", "OrchestrationResult"),
        ("flowyard.client.schemas.schedules", "CronSchedule"),
        ("flowyard.client.schemas.sorting", "FlowRunSort"),
        ("flowyard.client.utilities", "inject_client"),
        ("flowyard.context", "FlowRunContext"),
        ("flowyard.context", "TaskRunContext"),
        ("flowyard.context", "TagsContext"),
        ("flowyard.context", "get_run_context"),
        ("flowyard.context", "tags"),
        ("flowyard.futures", "PrefectFuture"),
        ("flowyard.logging", "get_run_logger"),
        ("flowyard.logging", "disable_run_logger"),
        ("flowyard.artifacts", "create_table_artifact"),
        ("flowyard.runtime", "flow_run"),
        ("flowyard.runtime", "task_run"),
        ("flowyard.settings", "temporary_settings"),
        ("flowyard.blocks.abstract", "CredentialsBlock"),
        ("flowyard.blocks.core", "Block"),
        ("flowyard.blocks.core", "block_schema_to_key"),
        ("flowyard.blocks.fields", "SecretDict"),
        ("flowyard.blocks.system", "JSON"),
        ("flowyard.blocks.system", "Secret"),
        ("flowyard.blocks.webhook", "Webhook"),
        ("flowyard.filesystems", "LocalFileSystem"),
        ("flowyard.variables", "Variable"),
        ("flowyard.serializers", "JSONSerializer"),
        ("flowyard.utilities.annotations", "unmapped"),
        ("flowyard.exceptions", "MappingLengthMismatch"),
    ],
)
def test_users_of_prefect_2_find_a_name_where_it_was(module, name):
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    "path",
    [
        *("artifacts.create_table_artifact", "blocks.system.Secret", "client.get_client", "context.get_run_context"),
        *("exceptions.MissingContextError", "filesystems.LocalFileSystem", "futures.PrefectFuture", "get_client"),
        *("results.PersistedResult", "runtime.flow_run.name", "serializers.JSONSerializer", "settings.FLOWYARD_HOME"),
        *("states.Completed", "task_runners.SequentialTaskRunner", "utilities.annotations.unmapped"),
        "variables.Variable",
    ],
)
def test_import_flowyard_is_enough_to_reach_a_public_module(path):
    program = f"import flowyard; flowyard.{path}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'flowyard' has no attribute 'nothing'"):
        importlib.import_module("flowyard").nothing  # noqa: B018


@pytest.mark.parametrize(
    "program",
    [
        "import flowyard",
        "import flowyard\n@flowyard.task\ndef t(x: int): ...\n@flowyard.flow\ndef f(x: int): t(x)\n",
    ],
    ids=["import", "decorators"],
)
def test_importing_loads_no_database_no_terminal_and_no_cluster(program):
    heavy = [
        "flowyard.schemas.wire",
        "flowyard.upcalls.worker",
        "sqlalchemy",
        "alembic",
        "rich",
        "typer",
        "fastapi",
        "uvicorn",
        "httpx",
        "dask",
        "distributed",
        "ray",
    ]
    heavy += ["pydantic", "cryptography", "fsspec", "pathspec", "flowyard.blocks"]
    check = f"{program}\nimport sys\nprint(sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=90)
    assert done.stdout.strip() == "[]", done.stderr


def test_running_a_sync_flow_loads_no_sqlalchemy_and_no_asyncio(home):
    program = (
        "import sys, flowyard\n@flowyard.task(retries=1)\ndef t(x): return x\n@flowyard.flow\ndef f():\n"
        "    return t(1) + t.submit(2).result() + sum(t.map([3, 4]).result())\n"
        "assert f() == 10\nprint(sorted({'sqlalchemy', 'alembic', 'asyncio'} & set(sys.modules)))"
    )
    for loaded in ("['asyncio', 'sqlalchemy']", "[]"):  # the first run makes the tables, with SQLAlchemy's asyncio
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=90)
        assert done.stdout.strip() == loaded, done.stderr
