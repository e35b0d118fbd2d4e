"""What an administrator looks at and does: the server's settings, and the database as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Body, Response, status
from pydantic import create_model
from sqlalchemy.engine import Connection

from flowyard.server.dependencies import Database
from flowyard.server.gateway import Gateway
from flowyard.server.routes import Routes
from flowyard.settings import Settings
from flowyard.settings.model import BY_NAME, OBFUSCATED
from flowyard.store import schema

router = Routes(prefix="/admin", tags=["Admin"])
_Confirm = Annotated[bool, Body(embed=True)]
_PREFECT = "PREFECT_"
# Settings of Prefect 2 that are none here: what is the case without them.
_ON = (
    *("ENABLE_ARTIFACTS", "ENABLE_ARTIFACTS_ON_FLOW_RUN_GRAPH", "ENABLE_DEPLOYMENT_STATUS"),
    *("ENABLE_ENHANCED_CANCELLATION", "ENABLE_STATES_ON_FLOW_RUN_GRAPH", "ENABLE_TASK_SCHEDULING", "ENABLE_WORKERS"),
    *("ENABLE_WORKSPACE_DASHBOARD", "ENABLE_WORK_POOLS", "ENABLE_WORK_QUEUE_STATUS", "EVENTS", "FLOW_RUN_INPUT"),
)
_OFF = (
    *("DISABLE_SYNC_COMPAT", "ENABLE_EXTRA_RUNNER_ENDPOINTS", "ENABLE_NEW_ENGINE", "WARN", "WARN_ARTIFACTS"),
    *("WARN_DEPLOYMENT_STATUS", "WARN_ENHANCED_CANCELLATION", "WARN_FLOW_RUN_INPUT", "WARN_VISUALIZE", "WARN_WORKERS"),
    *("WARN_WORKSPACE_DASHBOARD", "WARN_WORK_POOLS"),
)
_FIXED: dict[str, bool | None] = {
    **{f"{_PREFECT}EXPERIMENTAL_{name}": True for name in _ON},
    **{f"{_PREFECT}EXPERIMENTAL_{name}": False for name in _OFF},
    f"{_PREFECT}ASYNC_FETCH_STATE_RESULT": False,
    f"{_PREFECT}MEMOIZE_BLOCK_AUTO_REGISTRATION": False,
    f"{_PREFECT}SERVER_ANALYTICS_ENABLED": False,
    f"{_PREFECT}UNIT_TEST_LOOP_DEBUG": False,
    f"{_PREFECT}UNIT_TEST_MODE": False,
    f"{_PREFECT}CLOUD_API_URL": None,
    f"{_PREFECT}CLOUD_UI_URL": None,
    f"{_PREFECT}CLOUD_URL": None,
    f"{_PREFECT}MEMO_STORE_PATH": None,
    f"{_PREFECT}MESSAGING_BROKER": None,
    f"{_PREFECT}MESSAGING_CACHE": None,
    f"{_PREFECT}TEST_SETTING": None,
}


def _prefect_name(name: str) -> str:
    return _PREFECT + name.removeprefix("FLOWYARD_")


def _shown(settings: Settings) -> dict[str, Any]:
    """Return settings under our names and under Prefect 2's, which clients of it look up."""
    values: dict[str, Any] = {}
    for name, setting in BY_NAME.items():
        value = settings.value_of(setting)
        plain = isinstance(value, (bool, int, float)) or value is None
        shown = value if plain else setting.kind.render(value)
        values[name] = OBFUSCATED if setting.is_secret and shown else shown
    return {**values, **{_prefect_name(name): value for name, value in values.items()}, **_FIXED}


_fields: Any = dict.fromkeys((*BY_NAME, *map(_prefect_name, BY_NAME), *_FIXED), (Any, None))
_Shown = create_model("Settings", __doc__="The settings of the server; secrets are asterisks.", **_fields)


@router.get("/settings", operation_id="read_settings", response_model=_Shown)
def read_settings(database: Database) -> Any:
    """Return the settings that the server goes by."""
    return _shown(database.settings)


@router.post("/database/clear", operation_id="clear_database", status_code=status.HTTP_204_NO_CONTENT)
def clear(database: Database, confirm: _Confirm = False) -> Response:
    """Delete everything but API keys."""
    return _act(database, schema.clear, confirm=confirm)


@router.post("/database/drop", operation_id="drop_database", status_code=status.HTTP_204_NO_CONTENT)
def drop(database: Database, confirm: _Confirm = False) -> Response:
    """Delete all tables; nothing works until they are created again."""
    return _act(database, schema.drop, confirm=confirm)


@router.post("/database/create", operation_id="create_database", status_code=status.HTTP_204_NO_CONTENT)
def create(database: Database, confirm: _Confirm = False) -> Response:
    """Make the tables that are missing."""
    return _act(database, schema.create_missing, confirm=confirm)


def _act(database: Gateway, change: Callable[[Connection], None], *, confirm: bool) -> Response:
    if not confirm:
        return Response(status_code=status.HTTP_400_BAD_REQUEST)
    database.change(change)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
