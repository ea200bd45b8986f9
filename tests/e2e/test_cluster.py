"""scripts/cluster: several nodes in one command, and nothing of them is left when it is ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from likd.config.settings import unknown_variables
from tests import postgres
from tests.daemon import wait_until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
URL = "https://example.com/"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def ask(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/x-ndjson"} if body else {})
    with _open(request, timeout=20) as answer:
        return json.load(answer)


def test_a_like_by_any_node_shows_on_all_and_the_end_leaves_nothing_behind() -> None:
    if postgres.why_not():
        pytest.skip(f"no PostgreSQL: {postgres.why_not()}")
    command = [sys.executable, "scripts/cluster.py", "--nodes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LIKD_FLUSH_INTERVAL": "0.1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        try:
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            nodes = re.findall(r"^node \d+: (http://\S+)/", said, re.MULTILINE)
            assert len(nodes) == 2
            for place in [*nodes, *re.findall(r"^open (http://\S+)/", said, re.MULTILINE)]:
                ask(f"{place}/v1/events", json.dumps({"kind": "like", "url": URL}).encode())
            likes = 2 + said.count("open http")

            def shows(place: str) -> Callable[[], bool]:
                return lambda: ask(f"{place}/v1/counts?url={URL}")["counts"][0]["likes"] == likes

            for place in nodes:
                wait_until(shows(place))
            directory = Path(re.findall(r"^logs and data: (\S+)", said, re.MULTILINE)[0])
            assert (directory / "node1").is_dir()
        finally:
            process.terminate()
        assert process.wait(30) == 0
    pids = re.findall(r"\(process (\d+)\)", said)
    assert not directory.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_the_compose_file_names_what_the_image_and_the_settings_have() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    services = compose["services"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    (volume,) = re.findall(r"^VOLUME (\S+)", dockerfile, re.MULTILINE)
    nodes = {name: service for name, service in services.items() if service["image"] == "likd"}
    assert len(nodes) == 3
    for name, node in nodes.items():
        assert (DEPLOY / node["build"]["context"] / node["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
        assert node["volumes"] == [f"{name}:{volume}"], "each node has a directory of its own"
        assert set(node["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
        assert not unknown_variables(node["environment"])
        assert node["environment"]["LIKD_STORE"].partition("@")[2] == "postgres/likd"
        assert set(node["depends_on"]) <= services.keys()
    volumes = {each.partition(":")[0] for service in services.values() for each in service["volumes"]}
    assert {each for each in volumes if not each.startswith(".")} == compose["volumes"].keys()
    (port,) = re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE)
    (conf,) = [each.partition(":")[0] for each in services["nginx"]["volumes"]]
    assert re.findall(r"server (\S+):(\d+)", (DEPLOY / conf).read_text()) == [(name, port) for name in nodes] * 2
    (subnet,) = compose["networks"]["default"]["ipam"]["config"]
    assert all(node["environment"]["LIKD_TRUSTED_PROXIES"] == subnet["subnet"] for node in nodes.values())


@pytest.mark.skipif(NGINX is None, reason="no nginx")
def test_the_nginx_file_beside_it_is_one(tmp_path: Path) -> None:
    conf = (DEPLOY / "compose-nginx.conf").read_text()
    # The names are those of containers.
    (tmp_path / "likd.conf").write_text(re.sub(r"node\d:", "127.0.0.1:", conf))
    whole = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; include {tmp_path}/likd.conf; }}"
    (tmp_path / "nginx.conf").write_text(whole)
    command = [str(NGINX), "-t", "-q", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
