"""`flowyard artifact`: what runs want people to see."""

from __future__ import annotations

import json
from typing import Annotated
from uuid import UUID

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import ago, local_time, say, write_json, write_list
from flowyard.cli.records import artifact_record
from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.filters import ArtifactFilter

app = command_group("List, inspect and delete artifacts.")


@app.command()
def ls(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 100,
    all_versions: Annotated[bool, typer.Option("--all", "-a", help="Also versions that are not the latest.")] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List artifacts, newest first; of each key the latest version."""
    run = Invocation(context, output)
    with run.control() as control:
        found = control.artifacts.read_many(ArtifactFilter(is_latest=not all_versions), limit=limit)
    write_list(
        run,
        found,
        artifact_record,
        {
            "ID": lambda each: str(each.id),
            "Key": lambda each: each.key or "",
            "Type": lambda each: each.type or "",
            "Updated": lambda each: ago(each.updated),
        },
        empty="No artifacts found: `create_markdown_artifact(...)` in a flow or task makes one.",
    )


@app.command()
def inspect(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Key of the artifact.")],
    limit: Annotated[int, typer.Option(min=1, help="Versions at most.")] = 10,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show the versions of an artifact, newest first."""
    run = Invocation(context, output)
    with run.control() as control:
        found = control.artifacts.read_many(ArtifactFilter(keys=(key,)), limit=limit)
    if not found:
        raise _not_found(key)
    if run.is_json:
        write_json([artifact_record(each) for each in found])
        return
    for each in found:
        say(run, f"Artifact {key!r}, version {each.id}")
        facts = {
            "Type": each.type,
            "Description": each.description,
            "Flow run": each.flow_run_id,
            "Task run": each.task_run_id,
            "Created": f"{local_time(each.created)} ({ago(each.created)})",
            "Metadata": each.metadata,
        }
        for fact, value in facts.items():
            if value:
                say(run, f"  {fact + ':':<13}{value}")
        text = each.data if isinstance(each.data, str) else json.dumps(each.data, ensure_ascii=False)
        for line in text.splitlines():
            say(run, f"    {line}")


@app.command()
def delete(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(help="Key of the artifact: every version is deleted.")] = None,
    artifact_id: Annotated[
        UUID | None, typer.Option("--id", metavar="ID", help="Delete the version of this id only.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Delete an artifact, or one version of it."""
    run = Invocation(context)
    if (key is None) == (artifact_id is None):
        raise CommandFailed("Give either the key of an artifact, or --id.")
    with run.control() as control:
        where = ArtifactFilter(
            keys=None if key is None else (key,), ids=None if artifact_id is None else (artifact_id,)
        )
        count = control.artifacts.count(where)
        if not count:
            raise _not_found(key or artifact_id)
        if artifact_id is not None:
            run.confirm(f"Delete artifact '{artifact_id}'?", yes=yes)
        else:
            run.confirm(f"Delete artifact '{key}' ({count} version{'s' if count > 1 else ''})?", yes=yes)
        try:
            if artifact_id is not None:
                control.artifacts.delete(artifact_id)
            elif key is not None:
                control.artifacts.delete_key(key)
        except ObjectNotFound as error:  # somebody was faster
            raise _not_found(key or artifact_id) from error
    say(run, f"Deleted artifact '{key or artifact_id}'.", colour="green")


def _not_found(what: object) -> CommandFailed:
    return CommandFailed(f"Artifact '{what}' not found. `flowyard artifact ls` lists the newest.")
