"""One setting, and where the settings of this process are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Generic, TypeVar, overload

from flowyard.exceptions import InvalidSetting
from flowyard.settings.kinds import Kind

T = TypeVar("T")


class SettingFields:
    """Base of the classes whose attributes are settings: on the class a `Setting`, on an object its value."""

    def value_of(self, setting: Setting[T]) -> T:
        """Return the value of a setting."""
        raise NotImplementedError


class Setting(Generic[T]):
    """A setting. Its truth and its equality are those of its present value, as in Prefect 2."""

    def __init__(self, kind: Kind[T], default: T, description: str, *, is_secret: bool = False) -> None:
        self.name = "(unnamed)"
        self.kind = kind
        self.default = default
        self.description = description
        self.is_secret = is_secret
        self.__module__ = "flowyard.settings"  # where pickle finds the name

    def __set_name__(self, owner: type, name: str) -> None:
        if issubclass(owner, SettingFields):
            self.name = name

    @overload
    def __get__(self, instance: SettingFields, owner: type | None = None) -> T: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Setting[T]: ...

    def __get__(self, instance: object, owner: type | None = None) -> T | Setting[T]:
        return instance.value_of(self) if isinstance(instance, SettingFields) else self

    def value(self) -> T:
        """Return the value in the present settings of this process.

        Code below the edge takes a `Settings` object and uses `value_from`.
        """
        return PROCESS.current().value_of(self)

    def value_from(self, settings: SettingFields) -> T:
        """Return the value in the given settings."""
        return settings.value_of(self)

    def parse(self, value: object) -> T:
        """Return `value`, which may be text, as this setting's type.

        Raises:
            InvalidSetting: it cannot be that; says what is allowed.
        """
        try:
            return self.kind.parse(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: `~nobody/x`
            shown = "********" if self.is_secret else value
            raise InvalidSetting(self.name, shown, f"it must be {self.kind.allowed}") from error

    def __bool__(self) -> bool:
        return bool(self.value())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Setting):
            return self is other
        return self.value() == other

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name  # by reference: there is one object for each name


_of_call: ContextVar[list[SettingFields] | None] = ContextVar("flowyard_settings_of_call", default=None)
"""The stack of a call of another process's flow. Apart from the run context, because settings lie below it."""


class ProcessSettings:
    """The settings of this process: one root, read at the first look, and the stack that tests push onto.

    Process-wide and not per context on purpose: threads and pools of a flow that a test starts must see the
    test's settings. Reading takes no lock: a list's last item is read in one step.

    On a worker that several flows share, a call has a stack of its own (`enter_call`): what it pushes rules there
    only, and in what runs in a copy of its context.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._root: SettingFields | None = None
        self._stack: list[SettingFields] = []
        self.read_root: Callable[[], SettingFields] | None = None

    def current(self) -> SettingFields:
        """Return the settings pushed last, or the root."""
        try:
            return (_of_call.get() or self._stack)[-1]
        except IndexError:
            return self._root or self._load_root()

    @property
    def is_overridden(self) -> bool:
        """Whether something was pushed."""
        return bool(_of_call.get() or self._stack)

    def enter_call(self, settings: SettingFields) -> Token[list[SettingFields] | None]:
        """Let the given settings rule here, whatever other threads push; for one who hands the token to `leave_call`.

        The two take 0.3 microseconds.
        """
        return _of_call.set([settings])

    def leave_call(self, token: Token[list[SettingFields] | None]) -> None:
        """Restore what ruled here before `enter_call`."""
        _of_call.reset(token)

    def let_rule(self, settings: SettingFields, instead_of: SettingFields) -> None:
        """Let settings rule in the process, where calls with their own do not look, in the place of others."""
        with self._lock:
            self._stack[:] = [each for each in self._stack if each is not instead_of]
            self._stack.append(settings)

    def push(self, make: Callable[[SettingFields], SettingFields]) -> SettingFields:
        """Make the next settings from the present ones, and let them rule."""
        with self._lock:
            settings = make(self.current())
            (_of_call.get() or self._stack).append(settings)
            return settings

    def push_value(self, settings: SettingFields) -> None:
        """Let the given settings rule."""
        with self._lock:
            (_of_call.get() or self._stack).append(settings)

    def remove(self, settings: SettingFields) -> None:
        """Take pushed settings away again, wherever in the stack they are."""
        with self._lock:
            for stack in (_of_call.get() or [], self._stack):
                for index in range(len(stack) - 1, -1, -1):
                    if stack[index] is settings:
                        del stack[index]
                        return

    def forget_root(self) -> None:
        """Read environment and profile again at the next look."""
        with self._lock:
            self._root = None

    def _load_root(self) -> SettingFields:
        with self._lock:
            if self._root is None:
                if self.read_root is None:
                    raise RuntimeError("flowyard.settings was only partly imported")
                self._root = self.read_root()
            return self._root


PROCESS = ProcessSettings()
