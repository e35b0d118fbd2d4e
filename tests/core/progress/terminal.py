"""A terminal's screen, as far as rich's live display uses it: what would be seen, line by line."""

from __future__ import annotations

import re

_CODES = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07|(\r)|(\n)|([^\x1b\r\n]+)")


def seen(output: str) -> list[str]:
    """Return the lines that are on the terminal after `output`; it is as wide and as high as need be."""
    lines = [""]
    row = column = 0
    for match in _CODES.finditer(output):
        arguments, code, carriage_return, newline, text = match.groups()
        if text:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + text + line[column + len(text) :]
            column += len(text)
        elif newline:
            row, column = row + 1, 0
            if row == len(lines):
                lines.append("")
        elif carriage_return:
            column = 0
        elif code == "A":
            row = max(0, row - int(arguments or 1))
        elif code == "K":
            lines[row] = "" if arguments == "2" else lines[row][:column]
        elif code is not None and code not in "mhl":
            raise AssertionError(f"a code this terminal does not know: {match.group()!r}")
    return [line.rstrip() for line in lines]
