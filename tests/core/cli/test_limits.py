from __future__ import annotations

from typing import Any


def test_a_global_limit_is_made_listed_changed_and_deleted(run: Any) -> None:
    assert "Created" in run("gcl", "create", "db", "--limit", "3").stdout
    (listed,) = run("gcl", "ls", "-o", "json").json()
    assert (listed["name"], listed["limit"], listed["active"], listed["active_slots"]) == ("db", 3, True, 0)
    assert run("gcl", "update", "db", "-l", "5", "--slot-decay-per-second", "0.5").code == 0
    shown = run("global-concurrency-limit", "inspect", "db", "-o", "json").json()
    assert (shown["limit"], shown["slot_decay_per_second"], shown["holders"]) == (5, 0.5, [])
    assert "0/5" in run("gcl", "ls").stdout
    assert run("gcl", "delete", "db", "--yes").code == 0
    assert run("gcl", "ls", "-o", "json").json() == []


def test_a_global_limit_is_switched_off_and_on(run: Any) -> None:
    run("gcl", "create", "db", "--limit", "3")
    assert "disabled" in run("gcl", "disable", "db").stdout
    again = run("gcl", "disable", "db")
    assert again.code == 1
    assert "disabled already" in again.stdout
    assert run("gcl", "enable", "db").code == 0
    assert run("gcl", "inspect", "db", "-o", "json").json()["active"] is True


def test_mistakes_end_with_one_line_and_exit_code_1(run: Any) -> None:
    for command, message in [
        (("gcl", "inspect", "none"), "no concurrency limit 'none'"),
        (("gcl", "create", "a/b", "--limit", "1"), "cannot be the name of a concurrency limit"),
        (("gcl", "update", "none", "--limit", "1"), "no concurrency limit 'none'"),
        (("gcl", "update", "none"), "Nothing to change"),
        (("gcl", "update", "none", "--enable", "--disable"), "not both"),
        (("gcl", "create", "", "--limit", "1"), "cannot be the name of a concurrency limit"),
        (("concurrency-limit", "reset", "none"), "no concurrency limit 'tag:none'"),
        (("concurrency-limit", "create", "", "1"), "needs a name"),
    ]:
        done = run(*command)
        assert done.code == 1, command
        assert message in done.stdout + done.stderr, command
        assert "Traceback" not in done.stdout + done.stderr, command


def test_the_limit_of_a_tag_is_made_changed_and_deleted(run: Any) -> None:
    assert run("concurrency-limit", "create", "db", "2").code == 0
    assert run("concurrency-limit", "create", "db", "4").code == 0
    (listed,) = run("concurrency-limits", "ls", "-o", "json").json()
    assert (listed["tag"], listed["concurrency_limit"], listed["active_slots"]) == ("db", 4, [])
    assert "db" in run("concurrency-limit", "inspect", "db").stdout
    assert run("gcl", "ls", "-o", "json").json() == []
    assert run("concurrency-limit", "reset", "db").code == 0
    assert run("concurrency-limit", "delete", "db", "-y").code == 0
    assert "No tag is limited" in run("concurrency-limit", "ls").stdout
