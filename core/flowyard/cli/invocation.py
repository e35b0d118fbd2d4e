"""What the options before the command say, and the settings and the state backend a command works with."""

from __future__ import annotations

import enum
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from flowyard.exceptions import FlowyardError
from flowyard.ports import ControlPlane, open_backend
from flowyard.settings import (
    Profile,
    ProfilesCollection,
    Settings,
    get_current_settings,
    get_default_settings,
    load_current_profile,
    use_profile,
)


class CommandFailed(FlowyardError):
    """A command cannot do what was asked; the message is all that the user sees."""


class OutputFormat(enum.StrEnum):
    """What a command writes."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", help="`json` writes JSON to stdout and nothing else.", case_sensitive=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(slots=True)
class RootOptions:
    """The options before the command, and what follows from those after it."""

    profile_name: str | None = None
    may_prompt: bool | None = None
    is_json: bool = False
    """Whether stdout is for JSON alone, so that messages go to stderr."""
    has_entered_profile: bool = False


class Invocation:
    """One run of a command.

    Settings are read at the first question for them: the commands that mend a broken profile must not read them.
    """

    def __init__(self, context: typer.Context, output: OutputFormat = OutputFormat.TABLE) -> None:
        self._root = context.find_root()
        self._options: RootOptions = root_options(self._root)
        self._options.is_json = output is OutputFormat.JSON

    @property
    def is_json(self) -> bool:
        """Whether stdout is for JSON alone."""
        return self._options.is_json

    def settings(self) -> Settings:
        """Return the settings that rule; a profile given by `--profile` rules over the environment."""
        options = self._options
        if options.profile_name is not None and not options.has_entered_profile:
            # Until this run of the command line ends.
            self._root.with_resource(use_profile(options.profile_name, override_environment_variables=True))
            options.has_entered_profile = True
        return get_current_settings()

    def settings_or_defaults(self) -> Settings:
        """Return the settings that rule, or the defaults when a setting is broken: for matters of taste."""
        try:
            return self.settings()
        except FlowyardError:
            return get_default_settings()

    def profile(self, profiles: ProfilesCollection) -> Profile:
        """Return the active profile, that of `--profile` first."""
        if self._options.profile_name is not None:
            return profiles[self._options.profile_name]
        return load_current_profile()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something that cannot be undone, unless `--yes` answered.

        Raises:
            CommandFailed: nobody can be asked.
            typer.Abort: the answer is no.
        """
        if yes:
            return
        may_prompt = self._options.may_prompt
        if may_prompt is None:
            may_prompt = self.settings_or_defaults().FLOWYARD_CLI_PROMPT
        if may_prompt is None:
            may_prompt = sys.stdin.isatty()
        if not may_prompt:
            raise CommandFailed(f"{question} Nobody can be asked here; use --yes to go on.")
        typer.confirm(question, abort=True, err=self.is_json)

    @contextmanager
    def control(self) -> Generator[ControlPlane]:
        """Open the state backend; runs whose process has died are marked Crashed first."""
        settings = self.settings()
        backend = open_backend(settings)
        try:
            backend.control.reap_dead_runs(datetime.now(UTC))
            yield backend.control
        finally:
            backend.close()


def root_options(root: Any) -> RootOptions:
    """Return the options of a root context, which are made when they are first asked for."""
    if root.obj is None:
        root.obj = RootOptions()
    return root.obj
