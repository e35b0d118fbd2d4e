"""The nouns of a control plane that is elsewhere: what is called here is asked there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowyard.upcalls.calls import Question


class AskedNoun:
    """Every method is a question, whatever the noun is."""

    __slots__ = ("_ask", "_noun")

    def __init__(self, ask: Callable[[Question], Any], noun: str) -> None:
        self._ask = ask
        self._noun = noun

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._ask(Question(self._noun, method, args, kwargs))

        return call
