"""From a task's options, and what its flow and the settings add to them, to what the engine needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.cache_policies import hashed_flow_parameters
from flowyard.engine.caching import CacheOptions
from flowyard.engine.prepared import TaskTemplate
from flowyard.logging.loggers import get_logger
from flowyard.results.factory import ResultFactory
from flowyard.results.options import task_result_options
from flowyard.rules.retries import resolve_delays
from flowyard.schemas.policies import RetryPolicy
from flowyard.settings import Settings, get_current_settings
from flowyard.task_runners.base import TaskRunner, TaskSpec
from flowyard.task_runners.registry import task_runner_named


def task_template(task: Any, scope: Any, flow_context: Any) -> TaskTemplate:
    """Return a task in the engine's form; `scope` and `flow_context` are None outside of a flow run."""
    settings = get_current_settings()
    results = task_result_options(
        task,
        settings,
        flow=flow_context.flow if flow_context is not None else None,
        flow_results=scope.results if scope is not None else None,
    )
    log_prints = task.log_prints
    if log_prints is None:
        log_prints = flow_context.log_prints if flow_context is not None else settings.FLOWYARD_LOGGING_LOG_PRINTS
    spec = TaskSpec(
        task=task,
        fn=task.fn,
        signature=task.signature,
        name=task.name,
        is_async=task.isasync,
        timeout_seconds=task.timeout_seconds,
        log_prints=log_prints,
        retry_condition_fn=task.retry_condition_fn,
        task_run_name=task.task_run_name,
        # None is the fast path of most tasks: the value is only wrapped.
        results=None if results.keeps_in_memory_only else results,
        cache=_cache_options(task, settings, results, flow_context),
    )
    return TaskTemplate(
        spec=spec,
        task_key=task.task_key,
        version=task.version,
        tags=task.tags,
        policy=_retry_policy(task, settings),
        runner=runner_named(task.task_runner),
        on_completion=task.on_completion,
        on_failure=task.on_failure,
        on_commit=tuple(task.on_commit_hooks),
        on_rollback=tuple(task.on_rollback_hooks),
    )


def runner_named(runner: TaskRunner | str | None) -> TaskRunner | None:
    """Return the runner that an option means; a fresh one for a name."""
    return task_runner_named(runner) if isinstance(runner, str) else runner


def _retry_policy(task: Any, settings: Settings) -> RetryPolicy:
    retries = task.retries if task.retries is not None else settings.FLOWYARD_TASK_DEFAULT_RETRIES
    delays = task.retry_delay_seconds
    if delays is None:
        delays = settings.FLOWYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS
    crash_retries = task.crash_retries
    if crash_retries is None:
        crash_retries = settings.FLOWYARD_TASK_DEFAULT_CRASH_RETRIES
    return RetryPolicy(
        retries=retries,
        delays=resolve_delays(retries, delays),
        jitter_factor=task.retry_jitter_factor,
        crash_retries=crash_retries,
    )


def _cache_options(task: Any, settings: Settings, results: ResultFactory, flow_context: Any) -> CacheOptions | None:
    if task.key_policy is None:
        return None
    if not results.persist_result:
        get_logger("tasks").warning(
            "Task %r has a cache and `persist_result=False`, so no later run could use a value of it: "
            "it is not cached. Leave `persist_result` out",
            task.name,
        )
        return None
    refresh = task.refresh_cache
    parameters: Mapping[str, Any] = {} if flow_context is None else flow_context.parameters
    return CacheOptions(
        policy=task.key_policy,
        expiration=task.cache_expiration,
        refresh=settings.FLOWYARD_TASKS_REFRESH_CACHE if refresh is None else refresh,
        lock=task.cache_lock,
        longest_key=settings.FLOWYARD_API_TASK_CACHE_KEY_MAX_LENGTH,
        runs_hooks=settings.FLOWYARD_RUN_ON_COMPLETION_HOOKS_ON_CACHED,
        flow_parameters=hashed_flow_parameters(task.key_policy, parameters),
    )
