"""A small stand-in for a hub of models, on this machine: repositories are made, and take commits of small files."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Hub:
    """What the server holds: the files of each repository, which are private, and how it answers."""

    def __init__(self):
        self.files = {}
        self.private = {}
        self.tokens = []
        self.refuses = None  # the status of every answer
        self.writes = 200  # the status of answers to what changes something

    def add(self, name, *, private=False):
        self.files[name], self.private[name] = {}, private


class _Handler(BaseHTTPRequestHandler):
    hub = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Print nothing."""

    def _answer(self, status, content=None, headers=None):
        body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refused(self, changes):
        self.hub.tokens.append(self.headers.get("Authorization"))
        status = self.hub.refuses or (self.hub.writes if changes else 200)
        if status != 200:
            self._answer(status, {"error": "not allowed here"}, {"X-Error-Message": "not allowed here"})
        return status != 200

    def do_GET(self):
        if self._refused(changes=False):
            return
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            if name not in self.hub.files:
                self._answer(404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
            else:
                siblings = [{"rfilename": file} for file in self.hub.files[name]]
                known = {"id": name, "private": self.hub.private[name], "sha": "0" * 40, "siblings": siblings}
                self._answer(200, known)
            return
        name, file = "/".join(parts[:2]), "/".join(parts[4:])
        content = self.hub.files.get(name, {}).get(file)
        if content is None:
            self._answer(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        tag = hashlib.sha256(content).hexdigest()
        self._answer(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": "0" * 40})

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        body = self._body()
        if self._refused(changes=True):
            return
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            self._answer(200, {"errors": [], "warnings": []})
            return
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.hub.files:
                self._answer(409, {"error": "exists"})
                return
            self.hub.add(name, private=bool(asked.get("private") or asked.get("visibility") == "private"))
            self._answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name, "id": name})
            return
        name = "/".join(parts[2:4])
        if parts[4] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
            return
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.hub.files[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        address = f"http://{self.headers['Host']}/{name}/commit/{'0' * 40}"
        self._answer(200, {"commitUrl": address, "commitOid": "0" * 40, "success": True, "pullRequestUrl": None})


@contextmanager
def fake_hub():
    """Run a hub, and yield its address and what it holds."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
