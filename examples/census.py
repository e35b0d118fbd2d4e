"""Measure every Python file below a folder, and report by package.

    python census.py                         the standard library of this interpreter
    python census.py src --runner process    your own code, on all processors
    python census.py --limit 200 --output json

One task parses one file with `ast`. A file that cannot be read is tried again twice, because file systems have bad
moments; a file that is not valid Python is not, because it will not get better. Both end up in the report instead of
ending the run. One more task per package adds its files up: it depends on their futures and is told, through
`allow_failure`, about those that failed.
"""

from __future__ import annotations

import argparse
import ast
import json
import platform
import sys
import sysconfig
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flowyard import State, allow_failure, flow, runtime, task
from flowyard.exceptions import UnknownPlugin
from flowyard.futures import resolve_futures_to_data
from flowyard.settings import FLOWYARD_LOGGING_LEVEL, temporary_settings

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
SKIPPED_FOLDERS = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules"})
BLOCKS = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
)


@dataclass(frozen=True)
class FileMeasures:
    """What one file consists of."""

    path: str
    bytes: int
    lines: int
    statements: int
    functions: int
    classes: int
    deepest: int
    """How many blocks (functions, classes, loops, conditions, ...) its most nested statement is in."""
    imports: tuple[str, ...]
    """Top-level modules it imports, each once; imports relative to its package are left out."""


@dataclass(frozen=True)
class PackageMeasures:
    """The sum of a package's files; `deepest` is that of its most nested one."""

    name: str
    files: int
    bytes: int
    lines: int
    statements: int
    functions: int
    classes: int
    deepest: int
    imports: dict[str, int]
    """Top-level module -> number of files that import it."""
    failures: dict[str, str]
    """Path of a file that could not be measured -> why."""


@dataclass(frozen=True)
class Report:
    """What the flow found; `packages` are sorted by lines, the largest first."""

    folder: str
    packages: tuple[PackageMeasures, ...]
    flow_run_id: str
    flow_run_name: str


# --- tasks ----------------------------------------------------------------------------------------------------


def may_get_better(_task: Any, _task_run: Any, state: State) -> bool:
    """Say whether trying a failed file again makes sense."""
    return isinstance(state.result(raise_on_failure=False), OSError)


@task(retries=2, retry_delay_seconds=0.2, retry_condition_fn=may_get_better, crash_retries=1)
def measure(path: Path, folder: Path) -> FileMeasures:
    """Parse one file.

    Raises:
        OSError: it cannot be read.
        SyntaxError, ValueError: it is not Python, or not in the encoding that it declares.
    """
    source = path.read_bytes()
    # Newer Pythons warn of odd escapes while they parse: a matter of that code, not of this count.
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    tree = ast.parse(source, filename=path.name)
    statements = list(statements_of(tree))
    nodes = Counter(type(node) for node, _ in statements)
    return FileMeasures(
        path=path.relative_to(folder).as_posix(),
        bytes=len(source),
        lines=source.count(b"\n") + (source[-1:] not in (b"", b"\n")),
        statements=len(statements),
        functions=nodes[ast.FunctionDef] + nodes[ast.AsyncFunctionDef],
        classes=nodes[ast.ClassDef],
        deepest=max((depth for _, depth in statements), default=0),
        imports=tuple(sorted({name for node, _ in statements for name in imported_by(node)})),
    )


@task
def add_up(package: str, files: dict[str, FileMeasures | Exception]) -> PackageMeasures:
    """Add the files of a package up; a file that failed comes as its exception."""
    measured = [found for found in files.values() if isinstance(found, FileMeasures)]
    return PackageMeasures(
        name=package,
        files=len(measured),
        bytes=sum(file.bytes for file in measured),
        lines=sum(file.lines for file in measured),
        statements=sum(file.statements for file in measured),
        functions=sum(file.functions for file in measured),
        classes=sum(file.classes for file in measured),
        deepest=max((file.deepest for file in measured), default=0),
        imports=dict(Counter(name for file in measured for name in file.imports)),
        failures={path: reason_of(found) for path, found in files.items() if isinstance(found, Exception)},
    )


def statements_of(tree: ast.Module) -> Iterator[tuple[ast.stmt, int]]:
    """Yield each statement and the number of blocks around it.

    Without recursion, because generated code nests deeply; expressions, most of a tree, are not looked into.
    """
    todo: list[tuple[ast.stmt, int]] = [(node, 0) for node in reversed(tree.body)]
    while todo:
        node, depth = todo.pop()
        yield node, depth
        inside = depth + isinstance(node, BLOCKS)
        for child in children_of(node):
            # An `elif` is an `if` in the `else` of another one, written in the same column: not one block deeper.
            is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child.col_offset == node.col_offset
            todo.append((child, depth if is_elif else inside))


def children_of(node: ast.stmt) -> Iterator[ast.stmt]:
    """Yield the statements right inside a statement."""
    for field in ("body", "orelse", "finalbody"):
        yield from getattr(node, field, ())
    for branch in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield from branch.body


def imported_by(node: ast.stmt) -> Iterator[str]:
    """Yield the top-level modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]


def reason_of(error: Exception) -> str:
    """Return an error in one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
    return f"{type(error).__name__}: {text}{line}"


# --- the flow -------------------------------------------------------------------------------------------------


@flow
def census(folder: Path, limit: int | None = None) -> Report:
    """Measure the Python files below a folder, at most `limit` of them.

    Raises:
        FileNotFoundError: there is no Python file.
    """
    paths = python_files(folder)[:limit]
    if not paths:
        raise FileNotFoundError(f"there is no Python file below {str(folder)!r}")
    by_package: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    measures = measure.map(paths, folder, batch_size="auto")
    for path, future in zip(paths, measures, strict=True):
        by_package[package_of(path, folder)][path.relative_to(folder).as_posix()] = allow_failure(future)
    packages = resolve_futures_to_data([add_up.submit(name, files) for name, files in by_package.items()])
    return Report(
        folder=str(folder),
        packages=tuple(sorted(packages, key=lambda package: -package.lines)),
        flow_run_id=str(runtime.flow_run.id),
        flow_run_name=runtime.flow_run.name or "",
    )


def python_files(folder: Path) -> list[Path]:
    """Return the Python files below a folder, sorted; installed packages and caches are left out."""
    found = (path for path in folder.rglob("*.py") if not SKIPPED_FOLDERS.intersection(path.relative_to(folder).parts))
    return sorted(path for path in found if not path.is_dir())


def package_of(path: Path, folder: Path) -> str:
    """Return the top-level package or module that a file belongs to."""
    return path.relative_to(folder).parts[0].removesuffix(".py")


# --- the report -----------------------------------------------------------------------------------------------


def show(report: Report, seconds: float, *, top: int, console: Console) -> None:
    """Print a report that fits the terminal."""
    packages = report.packages
    failures = {path: why for package in packages for path, why in package.failures.items()}
    files = sum(package.files for package in packages) + len(failures)
    folder = f"standard library of Python {platform.python_version()}"
    if Path(report.folder) != STANDARD_LIBRARY:
        folder = escape(report.folder)
    console.print(
        f"[bold]{folder}[/]: {files:,} files in {len(packages):,} packages, "
        f"{seconds:.1f} s, {files / seconds:,.0f} files a second\n",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, show_footer=len(packages) > 1, pad_edge=False)
    table.add_column("package", "total", no_wrap=True, max_width=24)
    columns = ("files", "lines", "statements", "functions", "classes", "deepest")
    for name in columns:
        values = [getattr(package, name) for package in packages]
        table.add_column(name, f"{max(values) if name == 'deepest' else sum(values):,}", justify="right")
    for package in packages[:top]:
        table.add_row(escape(package.name), *(f"{getattr(package, name):,}" for name in columns))
    rest = packages[top:]
    if rest:
        sums = (
            max(getattr(p, n) for p in rest) if n == "deepest" else sum(getattr(p, n) for p in rest) for n in columns
        )
        table.add_row(f"{len(rest)} more", *(f"{value:,}" for value in sums), style="dim")
    console.print(table)
    imports: Counter[str] = Counter()
    for package in packages:
        imports.update(package.imports)
    popular = ", ".join(f"{escape(name)} {count:,}" for name, count in imports.most_common(top))
    console.print(f"[bold]imported most[/]: {popular or 'nothing'}\n")
    if failures:
        console.print(f"[bold red]{len(failures)} files could not be measured[/]:")
        for path, why in sorted(failures.items()):
            console.print(f"  {escape(path)}: {escape(why)}", no_wrap=True, overflow="ellipsis")
        console.print()
    console.print(
        f"recorded as flow run {report.flow_run_name!r}: flowyard flow-run inspect {report.flow_run_id}",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure every Python file below a folder, and report by package.")
    parser.add_argument("folder", nargs="?", type=Path, default=STANDARD_LIBRARY, help="default: the standard library")
    parser.add_argument(
        "--runner", default="concurrent", help="sequential, concurrent (default), process, or an add-on's"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="measure only the first N files")
    parser.add_argument("--top", type=int, default=12, metavar="N", help="how many packages to list (default: 12)")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--verbose", action="store_true", help="show the log lines of all runs as well")
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit {options.limit}: it must be at least 1")
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: there is no such folder")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the census; the exit code is 1 when there was nothing to measure."""
    options = parse_arguments(arguments)
    # Failed files are in the report; their tracebacks stay out of it.
    quiet = {} if options.verbose else {FLOWYARD_LOGGING_LEVEL: "CRITICAL"}
    began = time.perf_counter()
    with temporary_settings(quiet):
        try:
            report = census.with_options(task_runner=options.runner)(options.folder.resolve(), options.limit)
        except (UnknownPlugin, FileNotFoundError) as error:
            print(error, file=sys.stderr)
            return 1
    seconds = time.perf_counter() - began
    if options.output == "json":
        print(json.dumps({**asdict(report), "seconds": round(seconds, 3)}, indent=2))
    else:
        show(report, seconds, top=options.top, console=Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
