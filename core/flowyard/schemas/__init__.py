"""The records of control plane and API, each defined once."""
