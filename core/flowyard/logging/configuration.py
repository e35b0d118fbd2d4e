"""What logs where: the default, an override file, and single values from the environment."""

from __future__ import annotations

import json
import logging
import os
import re
import string
import threading
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from flowyard.exceptions import InvalidSetting
from flowyard.logging.filters import ObfuscateApiKeyFilter
from flowyard.logging.formatters import FLOW_RUN_FORMAT, PREFIX, STANDARD_FORMAT, TASK_RUN_FORMAT, TIME_FORMAT
from flowyard.logging.handlers import (
    FlowyardConsoleHandler,
    JournalLogHandler,
    RootForwarder,
    chain_of,
    writes_to_console,
)
from flowyard.logging.run_warnings import watch_warnings
from flowyard.settings import (
    BY_NAME,
    FLOWYARD_API_KEY,
    FLOWYARD_LOGGING_EXTRA_LOGGERS,
    FLOWYARD_LOGGING_FORMAT,
    FLOWYARD_LOGGING_INTERNAL_LEVEL,
    FLOWYARD_LOGGING_LEVEL,
    FLOWYARD_LOGGING_SERVER_LEVEL,
    FLOWYARD_LOGGING_SETTINGS_PATH,
    Setting,
    Settings,
    get_current_settings,
)

ROOT = "flowyard"
EXTRA = "flowyard.extra"
_VARIABLE_PREFIX = "FLOWYARD_LOGGING_"
_LEVEL_SETTINGS = {
    "flowyard.server": FLOWYARD_LOGGING_SERVER_LEVEL,
    "flowyard._internal": FLOWYARD_LOGGING_INTERNAL_LEVEL,
}
_LOCK = threading.Lock()
_LOGGING_SETTINGS: list[Setting[Any]] = [
    setting for name, setting in BY_NAME.items() if name.startswith(_VARIABLE_PREFIX) or setting is FLOWYARD_API_KEY
]


@dataclass(eq=False, slots=True)
class _Applied:
    """What the last `setup_logging` did: from what, and what to take back before the next."""

    settings: Settings
    config: dict[str, Any]
    levels: dict[str, int] = field(default_factory=dict[str, int])
    """The level given to each logger: one that differs now was set by the user, and stays."""
    handlers: list[tuple[logging.Logger, logging.Handler]] = field(
        default_factory=list[tuple[logging.Logger, logging.Handler]]
    )


def default_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration without an override file, in the schema of `logging.config.dictConfig`."""
    level = FLOWYARD_LOGGING_LEVEL.value_from(settings)
    server_level = FLOWYARD_LOGGING_SERVER_LEVEL.value_from(settings)
    formatter = "flowyard.logging.formatters.FlowyardFormatter"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "simple": {"()": formatter, "format": "%(asctime)s.%(msecs)03d | %(message)s", "datefmt": TIME_FORMAT},
            "standard": {
                "()": formatter,
                "format": STANDARD_FORMAT,
                "flow_run_fmt": FLOW_RUN_FORMAT,
                "task_run_fmt": TASK_RUN_FORMAT,
                "datefmt": TIME_FORMAT,
            },
            "debug": {
                "()": formatter,
                "format": PREFIX + "%(threadName)-12s | %(name)s - %(message)s",
                "datefmt": TIME_FORMAT,
            },
            "json": {"()": "flowyard.logging.formatters.JsonFormatter", "fmt": "default"},
            "json_lines": {"()": "flowyard.logging.formatters.JsonLineFormatter"},
        },
        "handlers": {
            "console": {
                "level": 0,
                "class": "flowyard.logging.handlers.FlowyardConsoleHandler",
                "formatter": "json_lines" if FLOWYARD_LOGGING_FORMAT.value_from(settings) == "json" else "standard",
            },
            "api": {"level": 0, "class": "flowyard.logging.handlers.JournalLogHandler"},
        },
        "loggers": {
            ROOT: {"level": level, "handlers": ["console"], "propagate": False},
            EXTRA: {"level": level, "handlers": ["api"], "propagate": True},
            "flowyard.flow_runs": {"level": "NOTSET", "handlers": ["api"]},
            "flowyard.task_runs": {"level": "NOTSET", "handlers": ["api"]},
            "flowyard.server": {"level": server_level},
            "flowyard._internal": {"level": FLOWYARD_LOGGING_INTERNAL_LEVEL.value_from(settings)},
        },
    }


def load_logging_config(path: Path, settings: Settings | None = None) -> dict[str, Any]:
    """Read a logging configuration: YAML, or TOML or JSON by the file's ending.

    `${FLOWYARD_LOGGING_LEVEL}` and the like are replaced by the value of the setting.

    Raises:
        InvalidSetting: the file cannot be read, or is not such a configuration; says why.
    """
    settings = settings or get_current_settings()
    name = FLOWYARD_LOGGING_SETTINGS_PATH.name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(name, str(path), f"the file cannot be read: {error}") from error
    text = string.Template(text).safe_substitute(_SettingTexts(settings))
    try:
        config = _parse(text, path)
    except InvalidSetting:
        raise
    except Exception as error:  # PyYAML's errors have no name without PyYAML
        raise InvalidSetting(name, str(path), f"the file cannot be understood: {error}") from error
    if not isinstance(config, dict):
        raise InvalidSetting(name, str(path), "the file must hold a mapping with the keys of logging.config.dictConfig")
    return cast("dict[str, Any]", config)


def _parse(text: str, path: Path) -> object:
    if path.suffix == ".toml":
        return tomllib.loads(text)
    if path.suffix == ".json":
        return json.loads(text)
    try:
        import yaml  # noqa: PLC0415  # pyright: ignore[reportMissingModuleSource]  an optional dependency
    except ImportError as error:
        advice = "reading YAML needs PyYAML (pip install pyyaml); or write the same as a .toml or .json file"
        raise InvalidSetting(FLOWYARD_LOGGING_SETTINGS_PATH.name, str(path), advice) from error
    return yaml.safe_load(text)


class _SettingTexts(Mapping[str, str]):
    """The settings as texts, looked up when a file names them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __getitem__(self, name: str) -> str:
        if not name.startswith("FLOWYARD_") or not hasattr(self._settings, name):
            raise KeyError(name)
        return str(getattr(self._settings, name))

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def override_config(config: dict[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Replace values that variables `FLOWYARD_LOGGING_<PATH>_<TO>_<KEY>` name; return those variables.

    A value keeps its type: a number must be one, and a list is separated by commas.

    Raises:
        InvalidSetting: the text of a variable is not of that type.
    """
    if not any(name.startswith(_VARIABLE_PREFIX) for name in env):
        return {}
    overrides: dict[str, str] = {}
    for mapping, key, path in _leaves(config, ()):
        name = _variable(path)
        text = env.get(name)
        if text:
            mapping[key] = _typed(name, text, mapping[key])
            overrides[name] = text
    return overrides


def _variable(path: tuple[str, ...]) -> str:
    return _VARIABLE_PREFIX + re.sub(r"[^A-Z0-9_]", "_", "_".join(path).upper())


def _leaves(mapping: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], str, tuple[str, ...]]]:
    for key, value in list(mapping.items()):
        path = (*above, str(key))
        if isinstance(value, dict):
            yield from _leaves(cast("dict[str, Any]", value), path)
        else:
            yield mapping, key, path


def _typed(name: str, text: str, old: object) -> object:
    if isinstance(old, bool):
        if text.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
            raise InvalidSetting(name, text, "it must be true or false")
        return text.lower() in ("true", "1", "yes", "on")
    if isinstance(old, int) and text.isdecimal():
        return int(text)
    if isinstance(old, list):
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def setup_logging(incremental: bool | None = None) -> dict[str, Any]:
    """Configure the loggers for the present settings and return the configuration; watch warnings.

    Nothing happens when the settings are those of the last call (0.4 microseconds): the engine calls this for each
    flow run. What users did to the loggers stays: their handlers, and levels they set themselves.

    Args:
        incremental: True changes levels only; False configures anew even for the same settings.

    Raises:
        InvalidSetting: a level, or the override file, cannot be used.
    """
    watch_warnings()
    settings = get_current_settings()
    logger = logging.getLogger(ROOT)
    forwarder = _forwarder(logger)
    if forwarder is not None and incremental is None and forwarder.applied.settings is settings:
        return forwarder.applied.config
    with _LOCK:
        forwarder = _forwarder(logger)
        before: _Applied | None = forwarder.applied if forwarder is not None else None
        if before is not None and incremental is None and before.settings is settings:
            return before.config
        config = default_config(settings)
        path = FLOWYARD_LOGGING_SETTINGS_PATH.value_from(settings)
        has_file = path.exists()
        if has_file:
            config = load_logging_config(path, settings)
        overrides = override_config(config, os.environ)
        if before is not None and incremental is None and config == before.config and _log_alike(settings, before):
            before.settings = settings
            return before.config
        _check_levels(config, settings, path if has_file else None, overrides)
        applied = _Applied(settings, config)
        if before is not None and incremental:
            applied.handlers = before.handlers
            _set_levels(applied, before)
        else:
            _take_back(before)
            if has_file or overrides:
                _apply_with_stdlib(applied, before, path if has_file else None, overrides)
            else:
                _apply_default(applied, before, settings)
            _attach_to_extra_loggers(applied, before, settings)
            if FLOWYARD_API_KEY.value_from(settings):
                key_filter = ObfuscateApiKeyFilter()
                for _, handler in applied.handlers:
                    handler.addFilter(key_filter)
        forwarder = _forwarder(logger) or RootForwarder(logger)
        forwarder.applied = applied
        logger.removeHandler(forwarder)  # and last again: the console line comes first
        logger.addHandler(forwarder)
        return config


def _log_alike(settings: Settings, before: _Applied) -> bool:
    """Say whether handlers made for these settings would be the same: other threads may be logging to those there are.

    On a worker that several flows share, settings change with each call.
    """
    return all(setting.value_from(settings) == setting.value_from(before.settings) for setting in _LOGGING_SETTINGS)


def _forwarder(logger: logging.Logger) -> RootForwarder | None:
    for handler in logger.handlers:
        if isinstance(handler, RootForwarder):
            return handler
    return None


def _check_levels(
    config: Mapping[str, Any], settings: Settings, path: Path | None, overrides: Mapping[str, str]
) -> None:
    """Refuse a level nobody knows before anything is changed: half a configuration would log nowhere."""
    loggers: dict[str, Any] = config.get("loggers") or {}
    known = logging.getLevelNamesMapping()
    for name, options in loggers.items():
        level: object = options.get("level", 0)
        if isinstance(level, int) or str(level).upper() in known or str(level).isdecimal():
            continue
        advice = f"use one of {', '.join(known)}, or a number"
        setting = _LEVEL_SETTINGS.get(name, FLOWYARD_LOGGING_LEVEL)
        variable = _variable(("loggers", name, "level"))
        if variable in overrides:
            raise InvalidSetting(variable, level, advice)
        if path is None or level == setting.value_from(settings):  # a file may name the setting
            raise InvalidSetting(setting.name, level, advice)
        advice = f"it gives logger {name!r} the level {level!r}; {advice}"
        raise InvalidSetting(FLOWYARD_LOGGING_SETTINGS_PATH.name, str(path), advice)


def _number(level: object) -> int:
    text = str(level).upper()
    return int(text) if text.isdecimal() else logging.getLevelNamesMapping()[text]


def _set_levels(applied: _Applied, before: _Applied | None) -> None:
    loggers: dict[str, Any] = applied.config.get("loggers") or {}
    for name, options in loggers.items():
        if "level" in options:
            _set_level(name, _number(options["level"]), applied, before)


def _set_level(name: str, level: int, applied: _Applied, before: _Applied | None) -> None:
    logger = logging.getLogger(name)
    ours = before.levels.get(name, logging.NOTSET) if before is not None else logging.NOTSET
    if logger.level == ours:
        logger.setLevel(level)
        applied.levels[name] = level


def _take_back(before: _Applied | None) -> None:
    """Detach the handlers of the last configuration and reset levels that were not changed since."""
    if before is None:
        return
    for logger, handler in before.handlers:
        logger.removeHandler(handler)
        handler.close()
    for name, level in before.levels.items():
        logger = logging.getLogger(name)
        if logger.level == level:
            logger.setLevel(logging.NOTSET)
    before.levels.clear()


def _apply_default(applied: _Applied, before: _Applied | None, settings: Settings) -> None:
    """Do what `dictConfig` does with the default configuration; importing it takes 10 ms."""
    made: dict[str, logging.Handler] = {
        "console": FlowyardConsoleHandler(settings=settings),
        "api": JournalLogHandler(settings=settings),
    }
    for name, options in applied.config["loggers"].items():
        logger = logging.getLogger(name)
        for handler_name in options.get("handlers", ()):
            logger.addHandler(made[handler_name])
            applied.handlers.append((logger, made[handler_name]))
        # Once: a user may let `flowyard` propagate after that.
        if before is None and "propagate" in options:
            logger.propagate = options["propagate"]
    _set_levels(applied, before)
    _format_last_resort(settings)


def _format_last_resort(settings: Settings) -> None:
    """Let warnings of loggers without any handler look like all other lines.

    Not a handler of the root logger: that would turn a later `logging.basicConfig` of the user into a no-op.
    """
    if logging.lastResort is not None and (
        isinstance(logging.lastResort, FlowyardConsoleHandler)
        or type(logging.lastResort).__module__ == logging.__name__
    ):
        handler = FlowyardConsoleHandler(level=logging.WARNING, settings=settings)
        logging.lastResort = handler  # pyright: ignore[reportAttributeAccessIssue]  documented to take any handler


def _apply_with_stdlib(
    applied: _Applied, before: _Applied | None, path: Path | None, overrides: Mapping[str, str]
) -> None:
    # 10 ms to import, and only needed for an override.
    import logging.config  # noqa: PLC0415

    config = deepcopy(applied.config)
    config.setdefault("version", 1)
    config.setdefault("disable_existing_loggers", False)
    loggers: dict[str, Any] = config.get("loggers") or {}
    kept = {name: list(logging.getLogger(name).handlers) for name in loggers}
    levels = {name: options.pop("level") for name, options in loggers.items() if "level" in options}
    own_level = {name: logging.getLogger(name).level for name in loggers}
    try:
        logging.config.dictConfig(config)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        cause = error.__cause__ or error
        advice = f"logging.config.dictConfig refuses it: {error} ({cause})"
        if path is not None:
            raise InvalidSetting(FLOWYARD_LOGGING_SETTINGS_PATH.name, str(path), advice) from error
        raise InvalidSetting(", ".join(overrides), ", ".join(overrides.values()), advice) from error
    for name in loggers:
        logger = logging.getLogger(name)
        applied.handlers.extend((logger, handler) for handler in logger.handlers)
        for handler in kept[name]:  # dictConfig drops what users had attached
            logger.addHandler(handler)
        logger.setLevel(own_level[name])
        if name in levels:
            _set_level(name, _number(levels[name]), applied, before)


def _attach_to_extra_loggers(applied: _Applied, before: _Applied | None, settings: Settings) -> None:
    """Let the records of other libraries' loggers be part of the runs.

    They get the handlers of `flowyard.extra` and a console handler: the latter only where no handler of the user
    writes to the console, and both only where no logger above is in the list too, as a record would be written twice.
    """
    names = sorted(FLOWYARD_LOGGING_EXTRA_LOGGERS.value_from(settings))
    if not names:
        return
    extra = logging.getLogger(EXTRA)
    for name in names:
        logger = logging.getLogger(name)
        chain = chain_of(logger)
        if any(handler in extra.handlers for link in chain for handler in link.handlers):
            continue
        wanted = list(extra.handlers)
        if not any(writes_to_console(handler) for link in chain for handler in link.handlers):
            wanted += [h for h in logging.getLogger(ROOT).handlers if isinstance(h, FlowyardConsoleHandler)]
        for handler in wanted:
            logger.addHandler(handler)
            applied.handlers.append((logger, handler))
        if logger.level == logging.NOTSET:
            _set_level(name, extra.level or logging.getLogger(ROOT).level, applied, before)
