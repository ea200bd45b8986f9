"""Check that the installed likd has the expected version, and that its daemon counts a like and shows its pages."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

LIKD = str(Path(sys.executable).with_name("likd"))


def main() -> None:
    (expected,) = sys.argv[1:]
    assert version("likd") == expected, version("likd")
    command = [LIKD, "serve", "--data-dir", "data", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        try:
            url = daemon.stdout.readline().split()[-1]
            event = json.dumps({"kind": "like", "url": "https://example.com/"}).encode()
            post = urllib.request.Request(f"{url}/v1/events", event, {"Content-Type": "application/json"})
            with urllib.request.urlopen(post, timeout=20) as answer:
                assert answer.status == 202
            with urllib.request.urlopen(f"{url}/v1/counts?url=https://example.com/", timeout=20) as answer:
                assert json.load(answer)["counts"][0]["likes"] == 1
            # Templates and static files are in the package, too.
            for path in ("/", "/likd.js", "/docs", "/openapi.json", "/badge.svg?url=https://example.com/"):
                with urllib.request.urlopen(url + path, timeout=20) as answer:
                    assert answer.status == 200
        finally:
            daemon.terminate()
    assert daemon.returncode == 0, daemon.returncode


if __name__ == "__main__":
    main()
