"""Variables: small named values."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Response, status

from flowyard.schemas.api.sorting import VariableSort
from flowyard.schemas.api.variables import Variable, VariableCreate, VariableFilter, VariableUpdate
from flowyard.schemas.variables import VariableRecord
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf, SpeaksPrefect, changes_of
from flowyard.server.errors import refused_as_invalid
from flowyard.server.gateway import Gateway
from flowyard.server.routes import Routes
from flowyard.store import variable_lists

router = Routes(prefix="/variables", tags=["Variables"])


@router.post("/", operation_id="create_variable", response_model=Variable, status_code=status.HTTP_201_CREATED)
def create(body: VariableCreate, database: Database, speaks_prefect: SpeaksPrefect) -> Response:
    """Make a variable."""
    with refused_as_invalid():
        made = database.control.variables.create(VariableRecord(body.name, body.value, body.tags))
    return answers.one(Variable.of(made, as_text=speaks_prefect), status.HTTP_201_CREATED)


@router.post("/filter", operation_id="read_variables", response_model=list[Variable])
def read_many(
    database: Database,
    speaks_prefect: SpeaksPrefect,
    page: PageOf,
    variables: Annotated[VariableFilter | None, Body()] = None,
    sort: Annotated[VariableSort, Body()] = VariableSort.NAME_ASC,
) -> Response:
    """Return variables."""
    found = database.read(
        lambda connection: variable_lists.read_many(connection, database.dialect, variables, page, sort=sort)
    )
    return answers.many(Variable, [Variable.of(record, as_text=speaks_prefect) for record in found])


@router.post("/count", operation_id="count_variables")
def count(database: Database, variables: Annotated[VariableFilter | None, Body(embed=True)] = None) -> int:
    """Count variables."""
    return database.read(lambda connection: variable_lists.count(connection, database.dialect, variables))


@router.get("/name/{name:path}", operation_id="read_variable_by_name", response_model=Variable)
def read_by_name(name: str, database: Database, speaks_prefect: SpeaksPrefect) -> Response:
    """Return the variable of a name."""
    return answers.one(Variable.of(database.control.variables.read(name), as_text=speaks_prefect))


@router.patch("/name/{name:path}", operation_id="update_variable_by_name", status_code=status.HTTP_204_NO_CONTENT)
def update_by_name(name: str, body: VariableUpdate, database: Database) -> None:
    """Change the variable of a name."""
    _update(database, name, changes_of(body))


@router.delete("/name/{name:path}", operation_id="delete_variable_by_name", status_code=status.HTTP_204_NO_CONTENT)
def delete_by_name(name: str, database: Database) -> None:
    """Delete the variable of a name."""
    database.control.variables.delete(name)


@router.get("/{id}", operation_id="read_variable", response_model=Variable)
def read(id: UUID, database: Database, speaks_prefect: SpeaksPrefect) -> Response:
    """Return a variable."""
    found = database.read(lambda connection: variable_lists.read(connection, id))
    return answers.one(Variable.of(found, as_text=speaks_prefect))


@router.patch("/{id}", operation_id="update_variable", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: VariableUpdate, database: Database) -> None:
    """Change a variable."""
    _update(database, _name_of(id, database), changes_of(body))


@router.delete("/{id}", operation_id="delete_variable", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a variable."""
    database.control.variables.delete(_name_of(id, database))


def _name_of(variable_id: UUID, database: Gateway) -> str:
    return database.read(lambda connection: variable_lists.read(connection, variable_id)).name


def _update(database: Gateway, name: str, changes: dict[str, Any]) -> None:
    # None of a name or of tags is how Prefect 2 leaves a field out.
    for field in ("name", "tags"):
        if field in changes and changes[field] is None:
            del changes[field]
    with refused_as_invalid():
        database.control.variables.update(name, **changes)
