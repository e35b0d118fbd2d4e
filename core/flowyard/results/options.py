"""Which of the declared result options hold for a flow or a task."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

from flowyard.filesystems.contract import WritableFiles
from flowyard.filesystems.folder import Folder
from flowyard.results.blocks import load_storage, saved_id
from flowyard.results.factory import ResultFactory
from flowyard.serializers.base import Serializer
from flowyard.serializers.registry import resolve_serializer
from flowyard.settings import Settings


def flow_features_require_result_persistence(flow: Any) -> bool:
    """Say whether a flow's own options need its result on storage."""
    return not flow.cache_result_in_memory


def flow_features_require_child_result_persistence(flow: Any) -> bool:
    """Say whether a flow's options need the results of its tasks and subflows on storage: a retry uses them again."""
    return bool(flow.retries)


def task_features_require_result_persistence(task: Any) -> bool:
    """Say whether a task's options need its result on storage."""
    return task.key_policy is not None or not task.cache_result_in_memory


def flow_result_options(
    flow: Any, settings: Settings, *, parent: ResultFactory | None = None, parent_flow: Any = None
) -> ResultFactory:
    """Return how a flow's own result is kept; its tasks inherit storage and serializer from it.

    `parent` and `parent_flow` are those of the flow that called it, if any.
    """
    return resolve_result_options(
        persist_result=flow.persist_result,
        result_storage=flow.result_storage,
        result_serializer=flow.result_serializer,
        cache_result_in_memory=flow.cache_result_in_memory,
        is_required=flow_features_require_result_persistence(flow),
        helps_retries=parent_flow is not None and flow_features_require_child_result_persistence(parent_flow),
        inherited=parent,
        settings=settings,
    )


def task_result_options(
    task: Any, settings: Settings, *, flow: Any = None, flow_results: ResultFactory | None = None
) -> ResultFactory:
    """Return how a task's results are kept in a flow (or outside of one)."""
    return resolve_result_options(
        persist_result=task.persist_result,
        result_storage=task.result_storage,
        result_serializer=task.result_serializer,
        cache_result_in_memory=task.cache_result_in_memory,
        result_storage_key=task.result_storage_key,
        is_required=task_features_require_result_persistence(task),
        helps_retries=flow is not None and flow_features_require_child_result_persistence(flow),
        inherited=flow_results,
        settings=settings,
    )


def resolve_result_options(
    *,
    persist_result: bool | None,
    result_storage: WritableFiles | str | Path | None,
    result_serializer: Serializer | str | None,
    cache_result_in_memory: bool,
    is_required: bool,
    helps_retries: bool,
    settings: Settings,
    inherited: ResultFactory | None = None,
    result_storage_key: str | None = None,
) -> ResultFactory:
    """Return what holds of the declared options: own, else inherited (storage and serializer), else the settings'.

    `persist_result` None means: persist if a feature needs it (`is_required`), if retries of the calling flow can use
    it (`helps_retries`), or if the settings say so. In the last two cases a value that cannot be serialized is only
    kept in memory; in the others it is an error.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: a storage or serializer that is named does not exist.
    """
    persist = persist_result
    if persist is None:
        persist = is_required or helps_retries or settings.FLOWYARD_RESULTS_PERSIST_BY_DEFAULT
    own = result_storage if result_storage is not None else settings.FLOWYARD_DEFAULT_RESULT_STORAGE_BLOCK
    is_default = False
    block_id = None
    if result_storage is None and inherited is not None:
        storage, is_default, block_id = inherited.storage, inherited.is_default_storage, inherited.storage_block_id
    elif own is not None:
        storage = resolve_storage(own)
    else:
        storage, is_default = default_storage(settings), True
    if persist and block_id is None and not is_default:
        # Also what a flow handed on that keeps nothing itself.
        block_id = saved_id(storage)
    if result_serializer is not None:
        serializer = resolve_serializer(result_serializer)
    elif inherited is not None:
        serializer = inherited.serializer
    else:
        serializer = resolve_serializer(settings.FLOWYARD_RESULTS_DEFAULT_SERIALIZER)
    return ResultFactory(
        persist_result=persist,
        must_persist=persist and (is_required or bool(persist_result)),
        storage=storage,
        serializer=serializer,
        cache_result_in_memory=cache_result_in_memory,
        storage_key=result_storage_key,
        own_signing_key=settings.FLOWYARD_RESULTS_SIGNING_KEY or None,
        storage_block_id=block_id,
        is_default_storage=is_default,
    )


def default_storage(settings: Settings) -> Folder:
    """Return the folder that `FLOWYARD_LOCAL_STORAGE_PATH` names."""
    return Folder(basepath=str(settings.FLOWYARD_LOCAL_STORAGE_PATH))


def resolve_storage(storage: WritableFiles | str | Path) -> WritableFiles:
    """Return a storage object: one that is given, a folder by its path, or a saved block by ``"type/name"``.

    Raises:
        ValueError: there is no block of that name; says which names have one.
        TypeError: it is no storage.
    """
    if inspect.isclass(storage):
        raise TypeError(f"result_storage={storage!r} is a class: did you mean to call it?")
    if isinstance(storage, Path) or (isinstance(storage, str) and storage.startswith(("/", "./", "../", "~"))):
        return Folder(basepath=os.path.abspath(os.path.expanduser(storage)))
    if isinstance(storage, WritableFiles):
        return storage
    if not isinstance(storage, str):  # pyright: ignore[reportUnnecessaryIsInstance]  users may pass anything
        raise TypeError(
            f"result_storage={storage!r} is not a `flowyard.filesystems.WritableFileSystem`, nor the path of a "
            "folder or the `type/name` of a saved block"
        )
    return load_storage(storage, f"result_storage={storage!r}")
