"""`flowyard profile`: named sets of settings."""

from __future__ import annotations

from typing import Annotated

import typer

from flowyard.cli.connection import find_problem
from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import say, write_json
from flowyard.settings import (
    BY_NAME,
    Profile,
    ProfilesCollection,
    Settings,
    load_profiles,
    profiles_path,
    save_profiles,
)

app = command_group("Manage the settings profiles.")

Name = Annotated[str, typer.Argument(help="Name of the profile.")]


@app.command()
def ls(context: typer.Context, output: Output = OutputFormat.TABLE) -> None:
    """List the profiles; the active one has a star."""
    run = Invocation(context, output)
    profiles = load_profiles()
    active = run.profile(profiles).name
    names = sorted(profiles.names)
    if run.is_json:
        write_json([{"name": name, "active": name == active} for name in names])
        return
    say(run, "Available Profiles:")
    for name in names:
        say(run, f"* {name}" if name == active else f"  {name}", colour="green" if name == active else None)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    from_name: Annotated[str | None, typer.Option("--from", help="Copy the settings of this profile.")] = None,
) -> None:
    """Make a profile."""
    run = Invocation(context)
    profiles = load_profiles()
    if not name.strip():
        raise CommandFailed("A profile needs a name.")
    if name in profiles:
        raise CommandFailed(
            f"Profile {name!r} already exists. Delete it with `flowyard profile delete {name}`, or choose another name."
        )
    source = _existing(profiles, from_name) if from_name else Profile(name)
    profiles.add_profile(Profile(name, source.settings, profiles_path(), source.unknown))
    save_profiles(profiles)
    say(run, f"Created profile {name!r}" + (f" matching {from_name!r}." if from_name else "."), colour="green")
    say(run, f"Use it with `flowyard profile use {name}`; change it with `flowyard -p {name} config set NAME=VALUE`.")


@app.command()
def use(context: typer.Context, name: Name) -> None:
    """Make a profile the active one, and see whether its server answers."""
    run = Invocation(context)
    profiles = load_profiles()
    profile = _existing(profiles, name)
    profile.validate_settings()
    profiles.set_active(name)
    save_profiles(profiles)
    settings = Settings.from_env({}, profile.settings)
    if settings.FLOWYARD_API_URL is None:
        say(run, f"Now using profile {name!r}, with the embedded state backend.", colour="green")
        return
    problem = find_problem(settings)
    if problem:
        raise CommandFailed(
            f"Now using profile {name!r}, but the server at {settings.FLOWYARD_API_URL} {problem}. "
            "Start the server, or correct FLOWYARD_API_URL and FLOWYARD_API_KEY."
        )
    say(run, f"Now using profile {name!r}, connected to the server at {settings.FLOWYARD_API_URL}.", colour="green")


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a profile. Deleting `default` empties it."""
    run = Invocation(context)
    profiles = load_profiles()
    _existing(profiles, name)
    if name == run.profile(profiles).name:
        raise CommandFailed(
            f"Profile {name!r} is the active profile. You must switch profiles before it can be deleted."
        )
    profiles.remove_profile(name)
    save_profiles(profiles)
    message = f"Reset profile {name!r}." if name == "default" else f"Removed profile {name!r}."
    say(run, message, colour="green")


@app.command()
def rename(context: typer.Context, name: Name, new_name: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Rename a profile."""
    run = Invocation(context)
    profiles = load_profiles()
    profile = _existing(profiles, name)
    if not new_name.strip():
        raise CommandFailed("A profile needs a name.")
    if new_name in profiles:
        raise CommandFailed(f"Profile {new_name!r} already exists.")
    profiles.add_profile(Profile(new_name, profile.settings, profile.source, profile.unknown))
    profiles.remove_profile(name)
    if profiles.active_name == name:
        profiles.set_active(new_name)
    save_profiles(profiles)
    say(run, f"Renamed profile {name!r} to {new_name!r}.", colour="green")


@app.command()
def inspect(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Name of the profile; the active one if none is given.")] = None,
    output: Output = OutputFormat.TABLE,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets/--hide-secrets", help="Show passwords and keys in clear.")
    ] = False,
) -> None:
    """Show the settings of a profile."""
    run = Invocation(context, output)
    profiles = load_profiles()
    profile = _existing(profiles, name) if name else run.profile(profiles)
    values = {
        key: "********" if key in BY_NAME and BY_NAME[key].is_secret and not show_secrets else value
        for key, value in profile.to_record().items()
    }
    if run.is_json:
        write_json({"name": profile.name, "settings": values})
        return
    if not values:
        say(run, f"Profile {profile.name!r} is empty; `flowyard -p {profile.name} config set NAME=VALUE` fills it.")
    for key, value in values.items():
        say(run, f"{key}='{value}'")


def _existing(profiles: ProfilesCollection, name: str) -> Profile:
    if name not in profiles:
        raise CommandFailed(f"Profile {name!r} not found. There are: {', '.join(sorted(profiles.names))}.")
    return profiles[name]
