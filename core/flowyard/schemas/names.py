"""Names for runs that nobody named."""

from __future__ import annotations


def random_name() -> str:
    """Return two words, such as `brave-otter`."""
    import coolname  # noqa: PLC0415  40 ms that a command line without runs need not pay

    return str(coolname.generate_slug(2))
