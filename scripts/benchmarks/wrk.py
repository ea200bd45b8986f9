"""wrk, a cheap load generator: one request after another on each of its connections."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from benchmarks.contest import Wrong

POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local n = 0
function request()
  local ahead = {}
  for i = 1, AHEAD do
    n = n + 1
    ahead[i] = wrk.format(nil, nil, nil, '{"kind":"like","url":"https://example.com/page/' .. (PAGE) .. '"}')
  end
  return table.concat(ahead)
end
"""
THOUSAND = "n % 1000"
ZIPF = "math.floor(100000 ^ math.random())"
"""Pages 1 to 100,000, distributed by Zipf's law with an exponent of 1."""

BULK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-ndjson"
local lines = {}
for n = 1, LIKES do
  lines[n] = '{"kind":"like","url":"https://example.com/page/' .. n .. '"}'
end
wrk.body = table.concat(lines, "\\n")
"""

GET = """
wrk.headers["Accept-Encoding"] = "gzip"
local n, targets = 0, {TARGETS}
function request()
  n = n + 1
  return wrk.format(nil, (targets[n % #targets + 1]:gsub("PAGE", n % 1000)))
end
"""
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Ran:
    """What wrk found."""

    requests: int
    a_second: float
    p99_ms: float


def lacks() -> str:
    return "" if shutil.which("wrk") else "wrk: single requests and reads are not measured"


def posts(page: str = THOUSAND, *, ahead: int = 1) -> str:
    """A script that likes one page per request, numbered by the expression `page`, `ahead` of them at once."""
    return POST.replace("PAGE", page).replace("AHEAD", str(ahead))


def bulk(likes: int) -> str:
    """A script that likes `likes` pages once in each request."""
    return BULK.replace("LIKES", str(likes))


def gets(targets: list[str]) -> str:
    """A script that requests `targets` in turn; "PAGE" in them is one of a thousand."""
    return GET.replace("TARGETS", ", ".join(f'"{target}"' for target in targets))


def wrk(url: str, script: str, connections: int, seconds: int) -> Ran:
    """Run it. Raises Wrong if an answer is not a success."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", file.name, url]
        text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    found = re.search(r"99%\s+([\d.]+)(us|ms|s).*?(\d+) requests in.*?Requests/sec:\s+([\d.]+)", text, re.DOTALL)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        raise Wrong(text)
    return Ran(int(found[3]), float(found[4]), float(found[1]) * MILLISECONDS[found[2]])
