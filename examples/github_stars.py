"""Look up the stars of some GitHub repositories.

    python github_stars.py
    python github_stars.py python/cpython pallets/flask
    GITHUB_TOKEN=... python github_stars.py          more than 60 requests an hour

The API answers a request that comes too often, or in a bad moment, with an error; a task with `retries=3` asks again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.parse
import urllib.request
from collections.abc import Sequence

from flowyard import flow, task
from flowyard.tasks import exponential_backoff

API = "https://api.github.com"
REPOSITORIES = ("python/cpython", "pallets/flask", "sqlite/sqlite")


@task(retries=3, retry_delay_seconds=exponential_backoff(1), retry_jitter_factor=0.5, task_run_name="stars of {repo}")
def get_stars(repo: str, api: str = API) -> int:
    """Ask GitHub how many stars a repository (`owner/name`) has.

    Raises:
        OSError: there was no answer, or it was an error (`urllib.error.HTTPError`).
    """
    request = urllib.request.Request(
        f"{api.rstrip('/')}/repos/{urllib.parse.quote(repo)}",
        headers={"Accept": "application/vnd.github+json", "User-Agent": "flowyard-example"},
    )
    if token := os.environ.get("GITHUB_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["stargazers_count"]


@flow(log_prints=True)
def github_stars(repos: Sequence[str] = REPOSITORIES, api: str = API) -> dict[str, int]:
    """Print the stars of each repository, the most popular first."""
    futures = get_stars.map(repos, api)
    stars = dict(zip(repos, futures.result(), strict=True))
    for repo, count in sorted(stars.items(), key=lambda item: -item[1]):
        print(f"{repo} has {count:,} stars")
    return stars


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow; the exit code is 1 when a repository has no answer after all retries."""
    parser = argparse.ArgumentParser(description="Look up the stars of some GitHub repositories.")
    parser.add_argument("repos", nargs="*", default=REPOSITORIES, metavar="OWNER/NAME")
    parser.add_argument("--api", default=API, metavar="URL", help=f"default: {API}")
    options = parser.parse_args(arguments)
    state = github_stars(options.repos, options.api, return_state=True)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
