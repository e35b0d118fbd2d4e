from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowyard.settings import load_profiles


@pytest.fixture(autouse=True)
def profiles(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text(
        'active = "team"\n[profiles.team]\nFLOWYARD_API_KEY = "s3cret"\nFLOWYARD_DEBUG_MODE = "1"\n[profiles.other]\n'
    )


def test_ls_marks_the_active_profile(run: Any) -> None:
    assert run("profile", "ls").stdout == "Available Profiles:\n  default\n  other\n* team\n"
    assert run("-p", "other", "profiles", "ls", "-o", "json").json() == [
        {"name": "default", "active": False},
        {"name": "other", "active": True},
        {"name": "team", "active": False},
    ]


def test_create_makes_an_empty_profile_or_a_copy(run: Any) -> None:
    assert run("profile", "create", "empty").code == 0
    assert run("profile", "create", "copy", "--from", "team").code == 0
    made = load_profiles()
    assert made["empty"].to_record() == {}
    assert made["copy"].to_record() == made["team"].to_record() != {}
    assert made.active_name == "team"


def test_a_profile_has_a_name(run: Any) -> None:
    run("profile", "create", "night")
    for command in (("create", ""), ("create", " "), ("rename", "night", "")):
        done = run("profile", *command)
        assert (done.code, "needs a name" in done.stdout) == (1, True), command


def test_use_makes_a_profile_active(run: Any) -> None:
    done = run("profile", "use", "other")
    assert done.code == 0
    assert "Now using profile 'other'" in done.stdout
    assert load_profiles().active_name == "other"


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server whose health depends on the key."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = {"Bearer right": 200, "Bearer ill": 503}.get(self.headers.get("Authorization", ""), 401)
            self.send_response(status if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("right", 0, "Now using profile 'other', connected to the server"),
        ("wrong", 1, "does not accept FLOWYARD_API_KEY"),
        ("ill", 1, "answers 503"),
    ],
)
def test_use_looks_whether_the_server_answers(run: Any, server: HTTPServer, key: str, code: int, message: str) -> None:
    url = f"http://127.0.0.1:{server.server_port}/api"
    run("-p", "other", "config", "set", f"FLOWYARD_API_URL={url}", f"FLOWYARD_API_KEY={key}")
    done = run("profile", "use", "other")
    assert done.code == code
    assert message in done.stdout
    assert load_profiles().active_name == "other"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api", "ftp://x/api", "http://[bad/api"])
def test_use_says_when_the_server_cannot_be_reached(run: Any, url: str) -> None:
    run("-p", "other", "config", "set", f"FLOWYARD_API_URL={url}")
    done = run("profile", "use", "other")
    assert done.code == 1
    assert f"but the server at {url} " in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_use_refuses_a_profile_that_cannot_be_used(run: Any, home: Path) -> None:
    with (home / "profiles.toml").open("a") as file:
        file.write('FLOWYARD_DEBUG_MODE = "perhaps"\n')
    done = run("profile", "use", "other")
    assert done.code == 1
    assert "FLOWYARD_DEBUG_MODE='perhaps'" in done.stdout
    assert load_profiles().active_name == "team"


def test_delete_refuses_the_active_profile_and_empties_the_default_one(run: Any) -> None:
    done = run("profile", "delete", "team")
    assert done.code == 1
    assert "is the active profile" in done.stdout
    assert run("profile", "delete", "other").stdout == "Removed profile 'other'.\n"
    run("-p", "default", "config", "set", "FLOWYARD_DEBUG_MODE=1")
    assert run("profile", "delete", "default").stdout == "Reset profile 'default'.\n"
    left = load_profiles()
    assert left.names == {"default", "team"}
    assert left["default"].to_record() == {}


def test_rename_keeps_the_settings_and_stays_active(run: Any) -> None:
    before = load_profiles()["team"].to_record()
    assert run("profile", "rename", "team", "office").code == 0
    after = load_profiles()
    assert after.active_name == "office"
    assert after["office"].to_record() == before
    assert "team" not in after


def test_inspect_shows_the_settings_but_no_secret(run: Any) -> None:
    assert run("profile", "inspect", "team").stdout == "FLOWYARD_API_KEY='********'\nFLOWYARD_DEBUG_MODE='1'\n"
    assert run("profile", "inspect", "-o", "json").json() == {
        "name": "team",
        "settings": {"FLOWYARD_API_KEY": "********", "FLOWYARD_DEBUG_MODE": "1"},
    }
    assert "config set" in run("profile", "inspect", "other").stdout
    assert "s3cret" in run("profile", "inspect", "--show-secrets").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "team"),
        ("create", "new", "--from", "nope"),
        ("use", "nope"),
        ("delete", "nope"),
        ("rename", "nope", "new"),
        ("rename", "team", "other"),
        ("inspect", "nope"),
    ],
    ids=" ".join,
)
def test_a_name_that_does_not_fit_is_one_line_and_changes_nothing(
    run: Any, home: Path, arguments: tuple[str, ...]
) -> None:
    before = (home / "profiles.toml").read_text()
    done = run("profile", *arguments)
    assert done.code == 1
    assert len(done.stdout.splitlines()) == 1
    assert (home / "profiles.toml").read_text() == before


def test_with_json_output_errors_go_to_stderr(run: Any) -> None:
    done = run("profile", "inspect", "nope", "--output", "json")
    assert (done.code, done.stdout) == (1, "")
    assert "There are: default, other, team." in done.stderr
