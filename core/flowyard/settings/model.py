"""`Settings`: one frozen set of values, and where each came from."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, Self, TypeVar, cast

from flowyard.exceptions import InvalidSetting, UnknownSetting
from flowyard.settings.definitions import EngineFields
from flowyard.settings.definitions_server import ServerFields
from flowyard.settings.setting import Setting

T = TypeVar("T")
Source = Literal["code", "env", "profile", "default"]

OBFUSCATED = "********"
_REFERENCE = r"\$(?:\{(FLOWYARD_\w+)\}|(FLOWYARD_\w+))"
_UNSET: Any = object()


class Settings(EngineFields, ServerFields):
    """Values of all settings, frozen; `settings.FLOWYARD_HOME` is the value of that setting.

    Values given are checked at once. Values that refer to others are computed at the first look.
    """

    __slots__ = ("_given", "_resolved")

    _given: Mapping[str, tuple[Any, Source]]
    _resolved: dict[str, Any]

    def __init__(self, values: Mapping[Setting[Any] | str, object] | None = None, *, source: Source = "code") -> None:
        parsed: dict[str, tuple[Any, Source]] = {
            setting.name: (setting.parse(value), source) for setting, value in _by_setting(values or {})
        }
        self._set(parsed)

    def _set(self, given: Mapping[str, tuple[Any, Source]]) -> None:
        object.__setattr__(self, "_given", given)
        object.__setattr__(self, "_resolved", {})
        batch, record = self.FLOWYARD_LOGGING_TO_API_BATCH_SIZE, self.FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE
        if record > batch:
            raise InvalidSetting(
                "FLOWYARD_LOGGING_TO_API_MAX_LOG_SIZE",
                record,
                f"it must not exceed FLOWYARD_LOGGING_TO_API_BATCH_SIZE, which is {batch}",
            )

    @classmethod
    def _of(cls, given: Mapping[str, tuple[Any, Source]]) -> Self:
        settings = cls.__new__(cls)
        settings._set(given)
        return settings

    @classmethod
    def from_env(
        cls,
        env: Mapping[str, str],
        profile: Mapping[Setting[Any], object] | None = None,
        *,
        profile_overrides_env: bool = False,
    ) -> Self:
        """Read the settings from environment variables, then a profile's values, then the defaults.

        Variables that are empty count as unset; variables that name no setting are not looked at.
        `profile_overrides_env` is what `flowyard --profile NAME` means.

        Raises:
            InvalidSetting: a value cannot be used.
        """
        given: dict[str, tuple[Any, Source]] = {
            setting.name: (setting.parse(value), "profile") for setting, value in (profile or {}).items()
        }
        for name, setting in BY_NAME.items():
            text = env.get(name)
            if text and not (profile_overrides_env and name in given):
                given[name] = (setting.parse(text), "env")
        if env.get("SSL_CERT_FILE"):  # the variable that OpenSSL itself reads
            given.setdefault("FLOWYARD_API_SSL_CERT_FILE", (env["SSL_CERT_FILE"], "default"))
        return cls._of(given)

    # --- values --------------------------------------------------------------------------------------

    def value_of(self, setting: Setting[T]) -> T:
        """Return the value of a setting, computed where it follows from others."""
        value = self._resolved.get(setting.name, _UNSET)
        if value is _UNSET:
            # Two threads may both compute it: they come to the same value.
            value = self._resolved[setting.name] = self._resolve(setting, ())
        return cast("T", value)

    def source_of(self, setting: Setting[Any] | str) -> Source:
        """Return where the value of a setting comes from; "code" is `temporary_settings` and the like."""
        entry = self._given.get(find_setting(setting).name)
        return entry[1] if entry else "default"

    def _raw(self, setting: Setting[Any]) -> Any:
        entry = self._given.get(setting.name)
        return entry[0] if entry else setting.default

    def _resolve(self, setting: Setting[Any], path: tuple[str, ...]) -> Any:
        name = setting.name
        if name in path:
            raise InvalidSetting(name, str(self._raw(setting)), f"it refers to itself: {' -> '.join((*path, name))}")
        value = self._raw(setting)
        if isinstance(value, list):
            return cast("list[Any]", value).copy()  # so that nobody changes the default
        if name == "FLOWYARD_HOME":
            value = Path(os.path.abspath(value))
        if isinstance(value, (str, Path)) and "$FLOWYARD" in str(value).replace("{", ""):
            text = re.sub(_REFERENCE, lambda match: self._referred(match, (*path, name)), str(value))
            value = Path(text) if isinstance(value, Path) else text
        if name == "FLOWYARD_UI_URL" and value is None:
            value = _ui_url(self.FLOWYARD_API_URL)
        elif name == "FLOWYARD_UI_API_URL" and value is None:
            value = "/api"
        elif name in ("FLOWYARD_LOGGING_LEVEL", "FLOWYARD_LOGGING_INTERNAL_LEVEL"):
            value = "DEBUG" if self.FLOWYARD_DEBUG_MODE else value
        return value

    def _referred(self, match: re.Match[str], path: tuple[str, ...]) -> str:
        setting = BY_NAME.get(match[1] or match[2])
        if setting is None:
            return match[0]  # a password may contain such text
        value = self._resolve(setting, path)
        return "" if value is None else setting.kind.render(value)

    # --- copies --------------------------------------------------------------------------------------

    def copy_with_update(
        self,
        updates: Mapping[Setting[Any], object] | None = None,
        set_defaults: Mapping[Setting[Any], object] | None = None,
        restore_defaults: Iterable[Setting[Any]] | None = None,
    ) -> Self:
        """Return settings with some values changed.

        Args:
            updates: values that rule over the present ones.
            set_defaults: values for settings that are not set.
            restore_defaults: settings to unset first.
        """
        given = dict(self._given)
        for setting in restore_defaults or ():
            given.pop(find_setting(setting).name, None)
        for setting, value in _by_setting(set_defaults or {}):
            given.setdefault(setting.name, (setting.parse(value), "code"))
        for setting, value in _by_setting(updates or {}):
            given[setting.name] = (setting.parse(value), "code")
        return self._of(given)

    def with_obfuscated_secrets(self) -> Self:
        """Return settings to show to people: every secret that is set reads `********`."""
        hidden: dict[str, tuple[Any, Source]] = {
            name: (OBFUSCATED if BY_NAME[name].is_secret and value else value, source)
            for name, (value, source) in self._given.items()
        }
        return self._of(hidden)

    def to_environment_variables(
        self,
        include: Iterable[Setting[Any]] | None = None,
        exclude_unset: bool = False,
        exclude_secrets: bool = False,
    ) -> dict[str, str]:
        """Return environment variables that give a child process these settings.

        References are filled in; values that are None are left out.

        Args:
            include: only these settings.
            exclude_unset: leave out what has its default.
            exclude_secrets: leave out passwords, keys, and the address of the database.

        Raises:
            TypeError: something in `include` is not a setting.
        """
        chosen = list(BY_NAME.values()) if include is None else list(include)
        for setting in cast("list[object]", chosen):
            if not isinstance(setting, Setting):
                raise TypeError(f"include must hold settings, not {setting!r}")
        variables: dict[str, str] = {}
        for setting in chosen:
            if exclude_unset and setting.name not in self._given:
                continue
            if exclude_secrets and setting.is_secret:
                continue
            value = self.value_of(setting)
            if value is not None:
                variables[setting.name] = setting.kind.render(value)
        return variables

    def hash_key(self) -> str:
        """Return a text that is equal for equal settings; for caches, within one process."""
        return str(hash(tuple(self.to_environment_variables(exclude_unset=True).items())))

    # --- protocol ------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("FLOWYARD_"):
            raise AttributeError(name)
        raise AttributeError(str(unknown_setting(name)))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings are frozen; use `temporary_settings({{{name}: {value!r}}})`")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return {name: value for name, (value, _) in self._given.items()} == {
            name: value for name, (value, _) in other._given.items()
        }

    def __hash__(self) -> int:
        return hash(self.hash_key())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, (value, _) in self.with_obfuscated_secrets()._given.items())
        return f"Settings({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _settings_of, (dict(self._given),)


BY_NAME: Mapping[str, Setting[Any]] = MappingProxyType(
    {
        name: cast("Setting[Any]", value)
        for fields in (EngineFields, ServerFields)
        for name, value in vars(fields).items()
        if isinstance(value, Setting)
    }
)


def _settings_of(given: Mapping[str, tuple[Any, Source]]) -> Settings:
    return Settings._of(given)  # pyright: ignore[reportPrivateUsage]  the pickled form is this module's own


def unknown_setting(name: str, value: object = None) -> UnknownSetting:
    """Return the error for a name that is no setting, with the closest names that are."""
    import difflib  # noqa: PLC0415  5 ms that only a mistake needs

    close = difflib.get_close_matches(name.upper(), BY_NAME, n=3, cutoff=0.75)
    advice = f"did you mean {' or '.join(close)}?" if close else "see `flowyard config view --show-defaults`"
    return UnknownSetting(name, value, advice)


def find_setting(setting: Setting[Any] | str) -> Setting[Any]:
    """Return a setting by its name, or as it is.

    Raises:
        InvalidSetting: there is no setting of that name.
    """
    if isinstance(setting, Setting):
        return setting
    found = BY_NAME.get(setting)
    if found is None:
        raise unknown_setting(setting)
    return found


def _by_setting(values: Mapping[Any, object]) -> list[tuple[Setting[Any], object]]:
    return [(find_setting(key), value) for key, value in values.items()]


def _ui_url(api_url: str | None) -> str | None:
    if api_url is None:
        return None
    return api_url.rstrip("/").removesuffix("/api").replace("/api/", "/", 1)


def warn_of_oddities(settings: Settings) -> None:
    """Warn about values that are allowed but hardly meant."""
    url = settings.FLOWYARD_API_URL
    if url and not settings.FLOWYARD_SILENCE_API_URL_MISCONFIGURATION:
        path = "/" + url.partition("://")[2].partition("/")[2]
        if not path.startswith("/api"):
            warnings.warn(
                f"FLOWYARD_API_URL={url!r} does not end in /api, where a Flowyard server answers; "
                "FLOWYARD_SILENCE_API_URL_MISCONFIGURATION=true silences this",
                stacklevel=2,
            )
    raw_url = str(settings._raw(Settings.FLOWYARD_API_DATABASE_CONNECTION_URL))  # pyright: ignore[reportPrivateUsage]
    if settings.FLOWYARD_API_DATABASE_PASSWORD and "FLOWYARD_API_DATABASE_PASSWORD" not in raw_url:
        warnings.warn(
            "FLOWYARD_API_DATABASE_PASSWORD is set but FLOWYARD_API_DATABASE_CONNECTION_URL does not contain "
            "${FLOWYARD_API_DATABASE_PASSWORD}, so the password is not used",
            stacklevel=2,
        )
