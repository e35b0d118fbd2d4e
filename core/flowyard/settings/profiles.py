"""Named sets of settings, and the TOML file that keeps them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from flowyard.exceptions import InvalidSetting, ProfilesFileError
from flowyard.settings.model import BY_NAME, find_setting, unknown_setting
from flowyard.settings.setting import Setting

DEFAULT_PROFILE = "default"

ValuesBySetting = Mapping[Setting[Any], object] | Mapping[str, object] | Mapping[Setting[Any] | str, object]


class Profile:
    """A named set of settings. Values are what the file says, text as a rule; they are checked when used.

    `source` is the file it was read from, None for one that was made in code or is built in. `unknown` is what the
    file has under names that are no settings: kept, so that it can be unset, but an error when the profile is used.
    """

    __slots__ = ("name", "settings", "source", "unknown")

    def __init__(
        self,
        name: str,
        settings: Mapping[Setting[Any], object] | None = None,
        source: Path | None = None,
        unknown: Mapping[str, object] | None = None,
    ) -> None:
        self.name = name
        self.settings: Mapping[Setting[Any], object] = settings or {}
        self.source = source
        self.unknown: Mapping[str, object] = unknown or {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        return (self.name, self.to_record(), self.source) == (other.name, other.to_record(), other.source)

    __hash__ = None  # type: ignore[assignment]  equality by content

    def __repr__(self) -> str:
        return f"Profile({self.name!r}, {[setting.name for setting in self.settings]!r}, source={self.source!r})"

    @classmethod
    def of(cls, name: str, values: ValuesBySetting, source: Path | None = None) -> Profile:
        """Make a profile from settings or their names."""
        known: dict[Setting[Any], object] = {}
        unknown: dict[str, object] = {}
        for key, value in values.items():
            setting = key if isinstance(key, Setting) else BY_NAME.get(key)
            if setting is None:
                unknown[str(key)] = value
            else:
                known[setting] = value
        return cls(name, known, source, unknown)

    def validate_settings(self) -> None:
        """Check every value.

        Raises:
            InvalidSetting: a name is no setting, or a value cannot be used; says which profile has it.
        """
        try:
            for name, value in self.unknown.items():
                raise unknown_setting(name, value)
            for setting, value in self.settings.items():
                setting.parse(value)
        except InvalidSetting as error:
            where = f"profile {self.name!r}" + (f" in {str(self.source)!r}" if self.source is not None else "")
            raise type(error)(error.name, error.value, f"{error.advice} (it is from {where})") from error.__cause__

    def with_updates(self, values: ValuesBySetting) -> Profile:
        """Return the profile with some settings changed; those given as None are removed.

        Raises:
            InvalidSetting: a name is no setting, or a value cannot be used.
        """
        known = dict(self.settings)
        unknown = dict(self.unknown)
        for key, value in values.items():
            if value is None and isinstance(key, str) and key in unknown:
                del unknown[key]
                continue
            setting = find_setting(key)
            if value is None:
                known.pop(setting, None)
            else:
                setting.parse(value)
                known[setting] = value
        return Profile(self.name, known, self.source, unknown)

    def to_record(self) -> dict[str, str]:
        """Return names and values as text, as the file has them."""
        record = {setting.name: _as_text(setting, value) for setting, value in self.settings.items()}
        return record | {name: str(value) for name, value in self.unknown.items()}


def _as_text(setting: Setting[Any], value: object) -> str:
    return value if isinstance(value, str) else setting.kind.render(setting.parse(value))


class ProfilesCollection:
    """Profiles by name, and which of them is active."""

    def __init__(self, profiles: Iterable[Profile], active: str | None = None) -> None:
        self._profiles = {profile.name: profile for profile in profiles}
        self.active_name = active

    @property
    def names(self) -> set[str]:
        """The names of all profiles."""
        return set(self._profiles)

    @property
    def active_profile(self) -> Profile | None:
        """The active profile; None when none is, or it does not exist."""
        return self._profiles.get(self.active_name) if self.active_name is not None else None

    def set_active(self, name: str | None, check: bool = True) -> None:
        """Make a profile the active one.

        Raises:
            ValueError: with `check`, there is no such profile.
        """
        if check and name is not None and name not in self._profiles:
            raise ValueError(f"unknown profile {name!r}; there are {', '.join(sorted(self._profiles)) or 'none'}")
        self.active_name = name

    def add_profile(self, profile: Profile) -> None:
        """Add a profile.

        Raises:
            ValueError: there is one of that name.
        """
        if profile.name in self._profiles:
            raise ValueError(f"profile {profile.name!r} exists already; choose another name")
        self._profiles[profile.name] = profile

    def update_profile(self, name: str, settings: ValuesBySetting, source: Path | None = None) -> Profile:
        """Change settings of a profile, which is made if it does not exist; None removes a setting."""
        present = self._profiles.get(name) or Profile(name, source=source)
        updated = self._profiles[name] = present.with_updates(settings)
        return updated

    def remove_profile(self, name: str) -> None:
        """Remove a profile; KeyError when there is none of that name."""
        self._profiles.pop(name)

    def without_profile_source(self, path: Path | None) -> ProfilesCollection:
        """Return the profiles that were not read from `path`."""
        return ProfilesCollection([p for p in self._profiles.values() if p.source != path], self.active_name)

    def to_dict(self) -> dict[str, Any]:
        """Return what the profiles file says, in plain types."""
        profiles = {name: profile.to_record() for name, profile in self._profiles.items()}
        return {"active": self.active_name, "profiles": profiles}

    def items(self) -> list[tuple[str, Profile]]:
        """Return names and profiles."""
        return list(self._profiles.items())

    def __getitem__(self, name: str) -> Profile:
        return self._profiles[name]

    def __contains__(self, name: object) -> bool:
        return name in self._profiles

    def __iter__(self) -> Iterator[str]:
        return iter(self._profiles)

    def __len__(self) -> int:
        return len(self._profiles)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProfilesCollection):
            return NotImplemented
        return self._profiles == other._profiles and self.active_name == other.active_name

    __hash__ = None  # type: ignore[assignment]  it changes


def read_profiles(path: Path) -> ProfilesCollection:
    """Return the profiles of a file, over the built-in, empty profile `default`.

    A file that does not exist is an empty one.

    Raises:
        ProfilesFileError: the file cannot be read or is not a profiles file.
    """
    profiles = {DEFAULT_PROFILE: Profile(DEFAULT_PROFILE)}
    active = DEFAULT_PROFILE
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ProfilesCollection(profiles.values(), active)
    except (OSError, UnicodeDecodeError) as error:
        raise ProfilesFileError(str(path), f"cannot be read: {error}", "make it readable, or move it away") from error
    import tomllib  # noqa: PLC0415  8 ms that most scripts, which have no profiles file, do not need

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfilesFileError(str(path), f"is not TOML: {error}", "repair it, or move it away") from error
    tables: object = document.get("profiles", {})
    if not isinstance(tables, dict):
        raise ProfilesFileError(str(path), "has no tables `[profiles.NAME]`", "repair it, or move it away")
    for name, values in cast("dict[str, object]", tables).items():
        if not isinstance(values, dict):
            raise ProfilesFileError(
                str(path), f"has profiles.{name}={values!r}", "a profile is a table `[profiles.NAME]` of settings"
            )
        profiles[name] = Profile.of(name, cast("dict[str, object]", values), path)
    return ProfilesCollection(profiles.values(), str(document.get("active", active)))


def write_profiles(path: Path, profiles: ProfilesCollection) -> None:
    """Write the profiles file whole or not at all, readable by its owner only.

    Comments of the present file are kept.

    Raises:
        ProfilesFileError: the file or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.resolve()  # a link, as dotfile managers make, stays one
        present = target.read_text("utf-8") if target.exists() else ""
        text = _document(present, profiles)
        temporary = target.with_name(f".{target.name}-{os.getpid()}-{threading.get_ident()}.tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, UnicodeDecodeError) as error:
        raise ProfilesFileError(
            str(path), f"cannot be written: {error}", "set FLOWYARD_HOME or FLOWYARD_PROFILES_PATH to a place you own"
        ) from error


def _document(present: str, profiles: ProfilesCollection) -> str:
    import tomlkit  # noqa: PLC0415  60 ms; only commands that write profiles need it
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    try:
        document = cast("dict[str, Any]", tomlkit.parse(present))
    except TOMLKitError as error:
        raise OSError(f"its present content is not TOML ({error}); repair it, or move it away") from error
    content = profiles.to_dict()
    if content["active"] is None:
        document.pop("active", None)
    else:
        document["active"] = content["active"]
    tables = cast("dict[str, Any]", document.setdefault("profiles", tomlkit.table(is_super_table=True)))
    wanted = cast("dict[str, dict[str, str]]", content["profiles"])
    for name in [name for name in tables if name not in wanted]:
        del tables[name]
    for name, values in wanted.items():
        table = cast("dict[str, Any]", tables.setdefault(name, tomlkit.table()))
        for key in [key for key in table if key not in values]:
            del table[key]
        for key, value in values.items():
            if str(table.get(key)) != value:
                table[key] = value
    return tomlkit.dumps(document)  # pyright: ignore[reportUnknownMemberType, reportArgumentType]
