"""Random requests to every route, with every kind of key, checked against the OpenAPI document.

A server is started on a temporary folder. schemathesis, which is not part of the project, sends
valid and invalid requests without a key, with a key of each scope, and with one of all scopes. No
answer may be a 5xx, have a status, type or header that the document does not name, or a body that
does not fit its schema.

    make fuzz
    python -m benchmarks.fuzz --schemathesis PATH --cases 20000
"""

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.speed.processes import Process, free_port
from service.demo import demo_documents
from service.store.key_file import SCOPES, KeyFile

SEED = 5
CALLERS = ("nobody", *SCOPES, "all")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson", "application/x-tar")
def as_it_is(context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")

@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict) and type(case.body.get("timeout_ms")) is int:
        if 0 < case.body["timeout_ms"] < 60_000:
            case.body["timeout_ms"] = 60_000
"""
"""For schemathesis, which cannot send these types by itself. A request that allows a millisecond is
rightly answered 504, so it gets a minute."""

_COUNTED = re.compile(r"^secondpass_requests_total\{.*\} (\S+)$", re.MULTILINE)


class Target:
    """The server, its keys by caller, and how many requests it has had."""

    def __init__(self, port: int, keys: dict[str, str]) -> None:
        self.url, self.keys = f"http://127.0.0.1:{port}", keys
        self._port = port

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """The status and the text of an answer to the caller that may do everything."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {"X-API-Key": self.keys["all"], "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def is_ready(self) -> bool:
        """Are the models loaded?"""
        try:
            return self.ask("GET", "/readyz")[0] == http.client.OK
        except OSError:
            return False

    def fill(self) -> None:
        """Store some documents; raises where they are refused."""
        rows = [
            {"id": one.id, "title": one.title, "text": one.text}
            for one in islice(demo_documents(), 20)
        ]
        status, told = self.ask("POST", "/documents?wait=true", {"documents": rows})
        if status != http.client.OK:
            raise RuntimeError(told)

    def requests(self) -> int:
        """How many the server has answered."""
        return round(sum(map(float, _COUNTED.findall(self.ask("GET", "/metrics")[1]))))


def attack(target: Target, caller: str, options: argparse.Namespace, folder: str) -> bool:
    """Send this caller's part of the requests; true if every check holds."""
    each = options.cases // len(options.only)
    document = json.loads(target.ask("GET", "/openapi.json")[1])
    operations = sum(len(methods) for methods in document["paths"].values())
    command = [
        str(options.schemathesis.resolve()),
        "run",
        f"{target.url}/openapi.json",
        "--no-color",
    ]
    command += ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing"]
    command += ["--max-examples", str(max(1, each // operations)), "--seed", str(options.seed)]
    command += ["--request-timeout", "600", "--continue-on-failure", "--workers", "2"]
    # Else it sends keys that it makes up in place of this one.
    command += ["--generation-with-security-parameters", "false", "--generation-database", "none"]
    command += ["--suppress-health-check", "all", "--warnings", "off"]
    if caller in target.keys:
        command += ["--header", f"X-API-Key: {target.keys[caller]}"]
    (Path(folder) / "hooks.py").write_text(HOOKS, encoding="utf-8")
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": folder}
    done = subprocess.run(command, cwd=folder, env=environment, check=False)  # noqa: S603
    return done.returncode == 0


def main() -> None:
    """Print what schemathesis finds; the exit code is 1 if a check fails or cases are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schemathesis", type=Path, required=True, help="its command")
    parser.add_argument("--cases", type=int, default=20_000, help="requests in all, about")
    parser.add_argument("--only", choices=CALLERS, action="append", help="this caller alone")
    parser.add_argument("--reranker", default="interaction-v1")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.only = arguments.only or CALLERS
    with tempfile.TemporaryDirectory() as parent:
        file, log, port = Path(parent) / "keys.json", Path(parent) / "server.log", free_port()
        scopes = {scope: (scope,) for scope in SCOPES} | {"all": SCOPES}
        keys = {name: KeyFile(file).create(name, scopes=of) for name, of in scopes.items()}
        command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        command += ["--data-dir", f"{parent}/data", "--keys-file", str(file)]
        # A busy machine must not make an answer late, which is a 504.
        command += ["--timeout-ms", "600000"]
        command += ["--reranker", arguments.reranker, "--log-level", "error"]
        target, failed = Target(port, keys), []
        with Process(command, log) as server:
            server.wait_until(target.is_ready)
            target.fill()
            for caller in arguments.only:
                sys.stderr.write(f"\n{caller}\n")
                if not attack(target, caller, arguments, parent):
                    failed.append(caller)
            requests = target.requests()
        sys.stderr.write(log.read_text(encoding="utf-8")[-10_000:])
    sys.stderr.write(f"{requests} requests; checks failed for: {', '.join(failed) or 'none'}\n")
    sys.exit(1 if failed or requests < arguments.cases else 0)


if __name__ == "__main__":
    main()
