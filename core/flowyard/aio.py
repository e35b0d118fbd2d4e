"""asyncio, loaded when it is first used: a third of what `import flowyard` took, and sync code needs none of it."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
else:

    class _Deferred:
        """Stands for a module."""

        def __init__(self, name: str) -> None:
            self._name = name
            self._module: Any = None

        def __getattr__(self, attribute: str) -> Any:
            if self._module is None:
                self._module = importlib.import_module(self._name)
            return getattr(self._module, attribute)

    asyncio = _Deferred("asyncio")

__all__ = ["asyncio", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; None when there is none. Loads nothing, and raises nothing."""
    # Without the module there is no loop; other implementations of loops report to it too.
    # While another thread is loading it, the function may not be there yet.
    look = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    return None if look is None else look()
