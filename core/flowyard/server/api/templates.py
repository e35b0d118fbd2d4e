"""Whether a template can be read, and whether values fit a schema; for forms."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response, status
from fastapi.responses import JSONResponse

from flowyard.exceptions import UnreadableTemplate
from flowyard.schemas.api.forms import ValuesToCheck
from flowyard.server.errors import refused_as_invalid
from flowyard.server.routes import Routes
from flowyard.services.templates import check_template
from flowyard.services.value_errors import value_errors

router = Routes()


@router.post("/templates/validate", operation_id="validate_template", tags=["Automations"])
def validate_template(template: Annotated[str, Body()] = "") -> Response:
    """Answer with 204 when a Jinja template can be read; otherwise say where it cannot."""
    try:
        check_template(template)
    except UnreadableTemplate as error:
        body = {"error": {"line": error.line, "message": error.cause, "source": template}}
        return JSONResponse(body, status.HTTP_422_UNPROCESSABLE_CONTENT)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.post("/ui/schemas/validate", operation_id="validate_obj", tags=["UI", "Schemas"])
def validate_values(body: ValuesToCheck) -> Any:
    """Say whether values fit a JSON schema, and what is wrong about which of them."""
    with refused_as_invalid():
        errors = value_errors(body.json_schema, body.values)
    return {"errors": errors, "valid": not errors}
