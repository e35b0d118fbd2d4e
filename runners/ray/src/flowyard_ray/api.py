"""Ray, as type checkers may see it: its own annotations are partial."""

from __future__ import annotations

from typing import Any

import ray as _ray

ray: Any = _ray
