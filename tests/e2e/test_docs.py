"""Every code sample of the README and of the site runs, and prints what the page says it prints.

A page runs in a process and a home folder of its own, its blocks one after another:

- ` ```python ` is executed; the blocks of a page share their names. With `title="x.py"` it is written to that file
  instead, which a command further down must run.
- ` ```console ` holds commands after `$ `, and what each prints.
- ` ```output ` is what the block before it prints. `...` stands for anything, in a line or as a line. With
  `{.output .unordered}` the order of lines does not count.
- `{.python .no-run}` is compiled only, `{.console .no-run}` not even that.

Times, ids, run names and durations are compared as if they were all the same.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    marks: frozenset[str]
    title: str | None
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    for match in _FENCE.finditer(text):
        info = match["info"].strip()
        words = re.findall(r"\.([\w-]+)", info) if info.startswith("{") else info.split()[:1]
        title = re.search(r'title="([^"]+)"', info)
        blocks.append(
            Block(
                language=words[0] if words else "",
                marks=frozenset(words[1:]),
                title=title[1] if title else None,
                text=textwrap.dedent(match["body"]),
                line=text.count("\n", 0, match.start()) + 2,
            )
        )
    return blocks


# --- running a page ---------------------------------------------------------------------------------------------

_INTERPRETER = """
import json, linecache, os, sys
sys.path.insert(0, os.getcwd())
for line in sys.stdin:
    order = json.loads(line)
    code = compile("\\n" * (order["line"] - 1) + order["text"], order["page"], "exec", dont_inherit=True)
    exec(code, globals())
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(order["done"], b".")
"""


class PageRun:
    """A process that executes the Python blocks of one page, and a home folder for its files and commands."""

    def __init__(self, page: Path, folder: Path, environment: dict[str, str]) -> None:
        self.page = page
        self.folder = folder
        self.environment = environment
        self._ready, done = os.pipe()
        self._output = (folder / ".output").open("w+b")
        self._done = done
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", _INTERPRETER],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            pass_fds=[done],
        )
        os.close(done)

    def execute(self, block: Block) -> str:
        """Execute a Python block; return what it printed."""
        begin = self._output.seek(0, os.SEEK_END)
        order = {"text": block.text, "line": block.line, "page": str(self.page), "done": self._done}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        finished = os.read(self._ready, 1)
        self._output.seek(begin)
        printed = self._shown(self._output.read().decode())
        assert finished, f"{self.page.name}, line {block.line}:\n{printed}"
        return printed

    def command(self, command: str) -> str:
        """Run one shell command; return what it printed. A last `# exit code 1` says which code is right."""
        command, _, wanted = command.partition("  # exit code ")
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == int(wanted or 0), f"{self.page.name}: $ {command}\n{done.stdout}"
        return self._shown(done.stdout)

    def _shown(self, text: str) -> str:
        """Return what was printed with the home folder as `~`, as a page would have it."""
        return text.replace(str(self.folder), "~")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait()
        os.close(self._ready)
        self._output.seek(0)
        printed = self._output.read().decode()
        self._output.close()
        assert code == 0, printed


# --- comparing --------------------------------------------------------------------------------------------------

# A date before a time: today's is not the one of the page.
_ALIKE = [
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z| UTC)?"), "WHEN"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"(?<=low run ')[a-z]+-[a-z]+(?=')"), "NAME"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s|min|seconds?|minutes?)\b(?: ago)?"), "DURATION"),
    (re.compile(r"\b0x[0-9a-f]+\b"), "ADDRESS"),
]


def comparable(text: str, *, is_ordered: bool = True) -> list[str]:
    for pattern, stand_in in _ALIKE:
        text = pattern.sub(stand_in, text)
    lines = [_table_line(line.rstrip()) for line in text.strip("\n").splitlines()]
    return lines if is_ordered else sorted(lines)


def _table_line(line: str) -> str:
    """Return a line without what depends on how wide the columns of a table are."""
    if re.fullmatch("[ ─━]+", line):
        return "RULE"
    indent = line[: len(line) - len(line.lstrip())]
    cells = re.split(" {2,}", line.lstrip())
    return indent + "  ".join("NAME" if re.fullmatch(r"[a-z]+-[a-z]+", cell) else cell for cell in cells)


def pattern_of(lines: list[str]) -> str:
    parts = [r"(?:.*\n)*?" if line.strip() == "..." else _line_pattern(line) + r"\n" for line in lines]
    return "".join(parts)


def _line_pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("..."))


def check(page: Path, line: int, expected: str, printed: str, *, is_ordered: bool = True) -> None:
    wanted, found = (comparable(text, is_ordered=is_ordered) for text in (expected, printed))
    if not re.fullmatch(pattern_of(wanted), "".join(f"{text}\n" for text in found)):
        raise AssertionError(
            f"{page.relative_to(ROOT)}, line {line}: the page says\n\n{expected}\nbut it prints\n\n{printed}"
        )


def steps_of(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown after it."""
    steps: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        else:
            assert steps, f"line {block.line}: a console block begins with a command, `$ ...`"
            steps[-1] = (steps[-1][0], steps[-1][1] + line + "\n")
    return steps


class GitHub(Protocol):
    """The fixture `github`, for the samples that would look something up."""

    url: str


@pytest.fixture
def environment(tmp_path: Path, github: GitHub) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLOWYARD")}
    scripts = Path(sys.executable).parent
    return {
        **clean,
        "HOME": str(tmp_path),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "GITHUB_API_URL": github.url,
        "PATH": f"{scripts}{os.pathsep}{clean['PATH']}",
    }


@pytest.mark.timeout(400)  # one page runs the whole contract of task runners
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    run = PageRun(page, tmp_path, environment)
    unused: set[str] = set()
    printed: str | None = None
    try:
        for block in blocks_of(page):
            if block.language == "python":
                compile(block.text, str(page), "exec", dont_inherit=True)
                if block.title is not None:
                    (tmp_path / block.title).write_text(block.text, encoding="utf-8")
                    unused.add(block.title)
                elif "no-run" not in block.marks:
                    printed = run.execute(block)
                    continue
                printed = None
            elif block.language == "console" and "no-run" not in block.marks:
                for command, expected in steps_of(block):
                    unused -= {title for title in unused if title in command}
                    printed = run.command(command)
                    if expected:
                        check(page, block.line, expected, printed)
            elif block.language == "output":
                assert printed is not None, f"line {block.line}: nothing ran before this output"
                check(page, block.line, block.text, printed, is_ordered="unordered" not in block.marks)
    finally:
        run.close()
    assert not unused, f"{sorted(unused)}: written, but no command on the page runs it"


def test_an_output_that_differs_is_found() -> None:
    page = ROOT / "README.md"
    check(page, 1, "a\n...\nc ... e\n", "a\nb\nb\nc d e\n")
    check(page, 1, "10:00:00.000 | INFO | Flow run 'big-cat' - x", "11:22:33.444 | INFO | Flow run 'red-dog' - x")
    check(page, 1, "b\na\n", "a\nb\n", is_ordered=False)
    for wrong in ("b\na\n", "a\n", "a\nb\nc\n", "a\nB\n"):
        with pytest.raises(AssertionError, match="but it prints"):
            check(page, 1, "a\nb\n", wrong)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("name", ["settings.md", "cli.md", "api.md"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    folder = ROOT / "docs" / "reference"
    spec = importlib.util.spec_from_file_location("generate", folder / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    wanted = generate.PAGES[name]()
    assert (folder / name).read_text(encoding="utf-8") == wanted, "run: uv run python docs/reference/generate.py"


def test_the_site_builds_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the site's generator is not installed")
    # Every connection that is tried goes to a port where nobody listens.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = "".join(page.read_text(encoding="utf-8") for page in (tmp_path / "site").rglob("*.html"))
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://[^\"]+\.(?:js|css|png|svg|woff2?)", pages)
