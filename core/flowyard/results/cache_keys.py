"""Ready-made functions for `cache_key_fn`."""

from __future__ import annotations

import hashlib
from typing import Any

from flowyard.results.fingerprints import code_digest, fingerprint


def task_input_hash(context: Any, arguments: dict[str, Any]) -> str | None:
    """Return a cache key from the task, its code and its arguments.

    The key changes with the function's own code (its constants too); the code of functions that it calls does not
    count. None when an argument cannot be hashed: the task is not cached then.
    """
    hashed = fingerprint(arguments)
    if hashed.value is None:
        return None
    task = context.task
    key = hashlib.blake2b(task.task_key.encode(), digest_size=16)
    key.update(code_digest(task.fn))
    key.update(hashed.value.encode())
    return key.hexdigest()
