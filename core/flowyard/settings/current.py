"""The settings and the profile that rule in this process. Read here, at the edge, from `os.environ`."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from flowyard.exceptions import MissingProfileError
from flowyard.settings.model import Settings, warn_of_oddities
from flowyard.settings.profiles import (
    DEFAULT_PROFILE,
    Profile,
    ProfilesCollection,
    ValuesBySetting,
    read_profiles,
    write_profiles,
)
from flowyard.settings.setting import PROCESS, Setting

PROFILE_VARIABLE = "FLOWYARD_PROFILE"


def get_current_settings() -> Settings:
    """Return the settings that rule now: those pushed last, or environment and active profile.

    Environment and profile are read at the first call in a process, and not again.

    Raises:
        InvalidSetting: a value in the environment or the profile cannot be used.
    """
    return cast("Settings", PROCESS.current())


def get_settings_from_env() -> Settings:
    """Read environment and active profile now and return the settings they give."""
    profile = _active_profile(read_profiles(_path_from_env(os.environ)), os.environ)
    profile.validate_settings()
    settings = Settings.from_env(os.environ, profile.settings)
    warn_of_oddities(settings)
    return settings


def get_default_settings() -> Settings:
    """Return the settings of an empty environment without profiles."""
    return Settings()


@contextmanager
def temporary_settings(
    updates: Mapping[Setting[Any], Any] | None = None,
    set_defaults: Mapping[Setting[Any], Any] | None = None,
    restore_defaults: Iterable[Setting[Any]] | None = None,
) -> Generator[Settings]:
    """Let changed settings rule within the block, in every thread of the process.

    In a task on a Dask worker they rule for the task alone: calls of other flows may run beside it.

    Args:
        updates: values that rule over the present ones.
        set_defaults: values for settings that are not set.
        restore_defaults: settings to unset first.
    """
    settings = PROCESS.push(
        lambda present: cast("Settings", present).copy_with_update(updates, set_defaults, restore_defaults)
    )
    try:
        yield cast("Settings", settings)
    finally:
        PROCESS.remove(settings)


@contextmanager
def use_profile(profile: Profile | str, *, override_environment_variables: bool = False) -> Generator[Settings]:
    """Let a profile rule within the block, below the environment unless told otherwise.

    Raises:
        MissingProfileError: there is no profile of that name.
        InvalidSetting: a value of the profile or the environment cannot be used.
    """
    if isinstance(profile, str):
        profile = load_profile(profile)
    profile.validate_settings()
    settings = Settings.from_env(os.environ, profile.settings, profile_overrides_env=override_environment_variables)
    PROCESS.push_value(settings)
    try:
        yield settings
    finally:
        PROCESS.remove(settings)


# --- profiles ----------------------------------------------------------------------------------------


def profiles_path() -> Path:
    """Return the path of the profiles file; known even when a profile's values are broken."""
    return get_current_settings().FLOWYARD_PROFILES_PATH if PROCESS.is_overridden else _path_from_env(os.environ)


def load_profiles() -> ProfilesCollection:
    """Return all profiles.

    Raises:
        ProfilesFileError: the profiles file cannot be read.
    """
    return read_profiles(profiles_path())


def save_profiles(profiles: ProfilesCollection) -> None:
    """Write all profiles, whole or not at all; the settings that rule do not change.

    Raises:
        ProfilesFileError: the profiles file cannot be written.
    """
    write_profiles(profiles_path(), profiles)


def load_profile(name: str) -> Profile:
    """Return a profile.

    Raises:
        MissingProfileError: there is none of that name.
    """
    profiles = load_profiles()
    if name not in profiles:
        raise MissingProfileError(f"unknown profile {name!r}; there are {', '.join(sorted(profiles.names))}")
    return profiles[name]


def load_current_profile() -> Profile:
    """Return the active profile: of `FLOWYARD_PROFILE`, else of the profiles file, else `default`."""
    return _active_profile(load_profiles(), os.environ)


def update_current_profile(settings: ValuesBySetting) -> Profile:
    """Change settings of the active profile and save it; None removes a setting.

    Raises:
        InvalidSetting: a name is no setting, or a value cannot be used.
        MissingProfileError: the active profile does not exist.
    """
    profiles = load_profiles()
    name = os.environ.get(PROFILE_VARIABLE) or profiles.active_name or DEFAULT_PROFILE
    if name not in profiles:
        raise MissingProfileError(f"no profile {name!r} to update; `flowyard profile create {name}` makes it")
    updated = profiles.update_profile(name, settings, source=profiles_path())
    save_profiles(profiles)
    return updated


def _active_profile(profiles: ProfilesCollection, env: Mapping[str, str]) -> Profile:
    name = env.get(PROFILE_VARIABLE) or profiles.active_name or DEFAULT_PROFILE
    if name in profiles:
        return profiles[name]
    sys.stderr.write(
        f"WARNING: Active profile {name!r} not found; using {DEFAULT_PROFILE!r} "
        f"(`flowyard profile use NAME` chooses among {', '.join(sorted(profiles.names))})\n"
    )
    return profiles[DEFAULT_PROFILE]


def _path_from_env(env: Mapping[str, str]) -> Path:
    names = ("FLOWYARD_HOME", "FLOWYARD_PROFILES_PATH")
    return Settings.from_env({name: env[name] for name in names if name in env}).FLOWYARD_PROFILES_PATH


PROCESS.read_root = get_settings_from_env
