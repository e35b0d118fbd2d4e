"""Jinja templates of clients: read in a sandbox, never run here."""

from __future__ import annotations

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flowyard.exceptions import UnreadableTemplate


def check_template(text: str) -> None:
    """Refuse a template that cannot be read.

    Raises:
        UnreadableTemplate: says where, and why.
    """
    try:
        ImmutableSandboxedEnvironment(autoescape=False).compile(text)
    except TemplateSyntaxError as error:
        raise UnreadableTemplate(error.lineno, error.message or "it cannot be read") from error
    except RecursionError as error:
        raise UnreadableTemplate(1, "it is nested too deep") from error
