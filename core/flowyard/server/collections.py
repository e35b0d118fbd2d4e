"""What is installed here, in the form of Prefect 2's registry of collections: block types and kinds of workers."""

from __future__ import annotations

from typing import Any

from flowyard.ports.blocks import BlockStore

VIEWS = ("aggregate-block-metadata", "aggregate-flow-metadata", "aggregate-worker-metadata", "demo-flows")


def block_metadata(store: BlockStore) -> dict[str, Any]:
    """Return the block types that this database knows, by the package that they come from."""
    found: dict[str, Any] = {}
    for kind in store.read_types(limit=10_000):
        package = (kind.origin or "").partition(":")[0].partition(".")[0] or "other"
        schemas = store.read_schemas(kind.slug)
        found.setdefault(package.replace("_", "-"), {"block_types": {}})["block_types"][kind.slug] = {
            "name": kind.name,
            "slug": kind.slug,
            "logo_url": kind.logo_url,
            "documentation_url": kind.documentation_url,
            "description": kind.description,
            "code_example": kind.code_example,
            "block_schema": None
            if not schemas
            else {
                "checksum": schemas[0].checksum,
                "fields": schemas[0].fields,
                "capabilities": schemas[0].capabilities,
                "version": schemas[0].version,
            },
        }
    return found


def worker_metadata() -> dict[str, Any]:
    """Return the kinds of workers, by the package that has them.

    The process worker stands under the name that clients of Prefect 2 look for.
    """
    return {"prefect": {"process": _PROCESS}}


def _variable(title: str, description: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "description": description, **more}


_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_PROCESS: dict[str, Any] = {
    "type": "process",
    "display_name": "Process",
    "description": "Runs each flow run in a process of its own, on the machine of the worker.",
    "documentation_url": None,
    "logo_url": None,
    "install_command": "pip install flowyard",
    "is_beta": False,
    "default_base_job_configuration": {
        "job_configuration": {
            name: f"{{{{ {name} }}}}" for name in ("command", "env", "labels", "name", "stream_output", "working_dir")
        },
        "variables": {
            "type": "object",
            "properties": {
                "name": _variable("Name", "Name of the process; by default that of the flow run.", type="string"),
                "env": _variable("Environment Variables", "Set for the process besides the worker's own.", **_TEXTS),
                "labels": _variable("Labels", "Told about the process.", **_TEXTS),
                "command": _variable(
                    "Command", "Starts a flow run; by default the one that the worker knows.", type="string"
                ),
                "stream_output": _variable(
                    "Stream Output", "Whether the worker prints what the process prints.", type="boolean", default=True
                ),
                "working_dir": _variable(
                    "Working Directory",
                    "Where the process starts; by default a temporary folder.",
                    type="string",
                    format="path",
                ),
            },
        },
    },
}
