"""Writes the pages of the reference that follow from the code: settings, command line, public names.

    python docs/reference/generate.py

`tests/e2e/test_docs.py` fails when a page is not what this writes.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import typer.main

from flowyard.cli.root import COMMANDS, app
from flowyard.client import SyncFlowyardClient
from flowyard.client.calling import Call
from flowyard.settings import BY_NAME, Setting
from flowyard.settings.definitions import EngineFields
from flowyard.settings.definitions_server import ServerFields

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/reference/generate.py: change the code, and run it again. -->\n"
# Modules, and of those that hold more than users import, which names.
MODULES: dict[str, tuple[str, ...]] = {
    "flowyard": (),
    "flowyard.flows": (),
    "flowyard.tasks": (),
    "flowyard.futures": (),
    "flowyard.states": (),
    "flowyard.runtime": (),
    "flowyard.context": ("FlowRunContext", "TaskRunContext", "TagsContext", "get_run_context", "tags"),
    "flowyard.logging": ("disable_run_logger", "flow_run_logger", "get_logger", "get_run_logger", "task_run_logger"),
    "flowyard.settings": (),
    "flowyard.cache_policies": (),
    "flowyard.transactions": (),
    "flowyard.serializers": (),
    "flowyard.blocks.core": ("Block", "block_schema_to_key"),
    "flowyard.blocks.fields": ("SecretDict",),
    "flowyard.blocks.system": ("DateTime", "JSON", "Secret", "String"),
    "flowyard.blocks.webhook": ("Webhook",),
    "flowyard.blocks.abstract": (
        *("CredentialsBlock", "DatabaseBlock", "JobBlock", "JobRun", "NotificationBlock", "NotificationError"),
        *("ObjectStorageBlock", "SecretBlock"),
    ),
    "flowyard.filesystems": (),
    "flowyard.artifacts": (),
    "flowyard.variables": (),
    "flowyard.events": ("emit_event",),
    "flowyard.task_runners": (),
    "flowyard.task_runners.process": (),
    "flowyard.testing.utilities": (),
    "flowyard.testing.runners": ("TaskRunnerContract", "TaskRunnerFlowContract"),
    "flowyard.utilities.annotations": (),
    "flowyard.utilities.asyncutils": (),
    "flowyard.utilities.collections": (),
    "flowyard.utilities.hashing": (),
    "flowyard.client": (),
    "flowyard.client.utilities": (),
    "flowyard.exceptions": (),
}


def settings_page() -> str:
    """Return the table of all settings."""
    lines = [
        "# Settings",
        "",
        NOTE,
        "A setting has the value given in code with `temporary_settings`, else that of the environment variable of its",
        "name, else that of the active profile, else its default. [How to set them](../how-to/settings.md).",
        "",
        "The list has Prefect 2's settings too that belong to what is not there yet (the server, above all): they are",
        "accepted and checked, and have no effect yet.",
    ]
    for title, fields in (("Flows, tasks and their records", EngineFields), ("Server", ServerFields)):
        lines += ["", f"## {title}", "", "| setting | value | default | meaning |", "|---|---|---|---|"]
        lines += [_setting_row(BY_NAME[name]) for name in vars(fields) if name in BY_NAME]
    return "\n".join(lines) + "\n"


def _setting_row(setting: Setting[Any]) -> str:
    default = setting.default
    text = "" if default is None else setting.kind.render(default)
    text = text.replace(str(Path("~").expanduser()), "~", 1)
    shown = "none" if default is None else f"`{text}`" if text else "empty"
    secret = " (secret)" if setting.is_secret else ""
    cells = (f"`{setting.name}`", setting.kind.allowed, shown, setting.description + secret)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def cli_page() -> str:
    """Return all commands with their arguments and options."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("flowyard", [], resilient_parsing=True)
    lines = ["# Command line", "", NOTE, "Before a command:", "", *_options(root)]
    for name in COMMANDS:
        lines += _command(root.get_command(context, name), context, f"flowyard {name}", level=2)
    return "\n".join(lines) + "\n"


def _command(command: Any, parent: Any, path: str, *, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} `{path}`", "", inspect.cleandoc(command.help or ""))
    subcommands = getattr(command, "list_commands", None)
    if subcommands is None:
        arguments = [_argument(param) for param in command.params if param.param_type_name == "argument"]
        yield from ("", "```text", " ".join([path, *arguments]), "```")
        options = _options(command)
        if options:
            yield from ("", *options)
        return
    context = command.make_context(path, [], parent=parent, resilient_parsing=True)
    for name in subcommands(context):
        yield from _command(command.get_command(context, name), context, f"{path} {name}", level=level + 1)


def _argument(param: Any) -> str:
    text = param.metavar or param.name.upper()
    return text if param.required else f"[{text}]"


def _options(command: Any) -> list[str]:
    rows = [
        f"| {', '.join(f'`{name}`' for name in (*param.opts, *param.secondary_opts))} | {param.help} |"
        for param in command.params
        if param.param_type_name == "option" and param.help and "completion" not in param.name
    ]
    return ["| option | meaning |", "|---|---|", *rows] if rows else []


def api_page() -> str:
    """Return the public names, each with the first line of its docstring."""
    lines = [
        "# Public names",
        "",
        NOTE,
        "`help(name)` in a console, and your editor, show the whole descriptions. What is not listed here can change",
        "without notice.",
    ]
    for module_name, chosen in MODULES.items():
        module = importlib.import_module(module_name)
        lines += ["", f"## `{module_name}`", "", first_line(module), "", "| name | what it is |", "|---|---|"]
        names = [(name, getattr(module, name)) for name in chosen] or public_names(module)
        lines += [f"| `{name}` | {first_line(value).replace('|', chr(92) + '|')} |" for name, value in names]
    lines += ["", "## Calls of the clients", "", "On `FlowyardClient` they are awaited.", ""]
    lines += ["| call | what it does |", "|---|---|"]
    calls = inspect.getmembers(SyncFlowyardClient, lambda value: isinstance(value, Call))
    lines += [f"| `{name}` | {first_line(call)} |" for name, call in calls]
    return "\n".join(lines) + "\n"


def public_names(module: Any) -> list[tuple[str, Any]]:
    """Return what a module offers: its `__all__`, else the functions and classes that it defines."""
    members = cast("dict[str, Any]", vars(module))
    names = cast("list[str]", members.get("__all__", [])) or [
        name
        for name, value in members.items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value)
    ]
    named = [(name, getattr(module, name)) for name in sorted(names) if not name.startswith("__")]
    # The names of all settings are in `flowyard.settings` too; they have a page of their own.
    return [(name, value) for name, value in named if callable(value) or inspect.ismodule(value)]


def first_line(value: Any) -> str:
    """Return the first sentence of a docstring."""
    documented = inspect.ismodule(value) or inspect.isclass(value) or callable(value)
    text = (inspect.getdoc(value) or "").partition("\n\n")[0] if documented else ""
    return " ".join(text.split())


PAGES = {"settings.md": settings_page, "cli.md": cli_page, "api.md": api_page}

if __name__ == "__main__":
    for file_name, page in PAGES.items():
        (FOLDER / file_name).write_text(page(), encoding="utf-8")
