"""`flowyard config`: the settings of a profile."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat
from flowyard.cli.lazy import command_group
from flowyard.cli.output import say, write_json
from flowyard.settings import BY_NAME, Settings, find_setting, load_profiles, profiles_path, save_profiles

app = command_group("View and change the settings of a profile.")

_WHERE_PROFILES_ARE = ("FLOWYARD_HOME", "FLOWYARD_PROFILES_PATH")
_SOURCES = {"code": "code", "env": "env", "profile": "profile", "default": "defaults"}


@app.command("set")
def set_values(
    context: typer.Context,
    settings: Annotated[list[str], typer.Argument(help="One or more of `NAME=VALUE`.", metavar="NAME=VALUE...")],
) -> None:
    """Set settings in the active profile."""
    run = Invocation(context)
    values: dict[str, str] = {}
    for item in settings:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise CommandFailed(f"Failed to parse argument {item!r}. Use the format 'NAME=VALUE'.")
        if name in _WHERE_PROFILES_ARE:
            raise CommandFailed(f"Setting {name!r} cannot be changed with this command: set the environment variable.")
        find_setting(name).parse(value)
        values[name] = value
    profiles = load_profiles()
    profile = run.profile(profiles)
    Settings.from_env({}, {**profile.settings, **{BY_NAME[name]: value for name, value in values.items()}})
    profiles.update_profile(profile.name, values, source=profiles_path())
    save_profiles(profiles)
    for name, value in values.items():
        say(run, f"Set {name!r} to {'********' if BY_NAME[name].is_secret else value!r}.")
        if os.environ.get(name):
            say(run, f"{name} is also set in the environment, which rules over the profile.", colour="yellow")
    say(run, f"Updated profile {profile.name!r}.", colour="green")


@app.command()
def unset(
    context: typer.Context,
    settings: Annotated[list[str], typer.Argument(help="One or more names.", metavar="NAME...")],
) -> None:
    """Remove settings from the active profile."""
    run = Invocation(context)
    profiles = load_profiles()
    profile = run.profile(profiles)
    names = profile.to_record()
    for name in settings:
        if name not in names:
            find_setting(name)
            raise CommandFailed(f"{name!r} is not set in profile {profile.name!r}.")
    profiles.update_profile(profile.name, dict.fromkeys(settings))
    save_profiles(profiles)
    for name in settings:
        say(run, f"Unset {name!r}.")
    say(run, f"Updated profile {profile.name!r}.", colour="green")


@app.command()
def validate(context: typer.Context) -> None:
    """Check every value of the active profile and of the environment."""
    run = Invocation(context)
    run.profile(load_profiles()).validate_settings()
    settings = run.settings()
    for setting in BY_NAME.values():
        settings.value_of(setting)  # references are looked at here
    say(run, "Configuration valid!", colour="green")


@app.command()
def view(
    context: typer.Context,
    output: Output = OutputFormat.TABLE,
    show_defaults: Annotated[
        bool, typer.Option("--show-defaults/--hide-defaults", help="Also settings that nobody has set.")
    ] = False,
    show_sources: Annotated[
        bool, typer.Option("--show-sources/--hide-sources", help="Say where each value comes from.")
    ] = True,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets/--hide-secrets", help="Show passwords and keys in clear.")
    ] = False,
) -> None:
    """Show the settings that rule."""
    run = Invocation(context, output)
    profile = run.profile(load_profiles())
    settings = run.settings()
    shown = settings if show_secrets else settings.with_obfuscated_secrets()
    names = [name for name in sorted(BY_NAME) if show_defaults or settings.source_of(name) != "default"]
    if run.is_json:
        values: dict[str, Any] = {}
        for name in names:
            values[name] = {"value": _text(shown, name), "source": settings.source_of(name)}
            if show_defaults:
                values[name]["description"] = BY_NAME[name].description
        write_json({"profile": profile.name, "settings": values})
        return
    say(run, f"FLOWYARD_PROFILE={profile.name!r}", colour="blue")
    for name in names:
        source = f" (from {_SOURCES[settings.source_of(name)]})" if show_sources else ""
        say(run, f"{name}='{_text(shown, name)}'{source}")


def _text(settings: Settings, name: str) -> str | None:
    setting = BY_NAME[name]
    value = settings.value_of(setting)
    return None if value is None else setting.kind.render(value)
