# SPDX-License-Identifier: Apache-2.0
"""Tencent's unmodified SDK for Node; ``node/calls.js`` connects it to the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator
from tiw_automation.simulator.pages import LIVE

Call = Callable[[str, dict[str, Any]], dict[str, Any]]

HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def node() -> str:
    """Return the path of ``node``, which must be installed with the SDK."""
    path = shutil.which("node")
    if path is None:
        pytest.fail("node is missing: install Node.js 18 or newer.")
    if not (HERE / "node_modules/tencentcloud-sdk-nodejs").is_dir():
        pytest.fail("tencentcloud-sdk-nodejs is missing: run npm install in tests/clients/node.")
    return path


@pytest.fixture(params=["TC3-HMAC-SHA256 POST", "HmacSHA1 GET", "HmacSHA256 POST"])
def call(request: pytest.FixtureRequest, simulator: Simulator, node: str) -> Iterator[Call]:
    """Yield a function that makes one call in a process of Node."""
    sign_method, http_method = request.param.split()
    process = subprocess.Popen(
        [node, str(HERE / "calls.js"), sign_method, http_method],
        env={**os.environ, **simulator.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def call_it(action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        stdin.write(json.dumps([action, parameters]) + "\n")
        stdin.flush()
        result: dict[str, Any] = json.loads(stdout.readline())
        if "error" in result:
            raise RuntimeError(result["error"])
        answer: dict[str, Any] = result["answer"]
        return answer

    try:
        yield call_it
    finally:
        stdin.close()
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            stdout.close()


def test_node_calls_every_action(call: Call, all_actions: Callable[[Call], None]) -> None:
    all_actions(call)


def test_node_runs_a_task_of_each_family(call: Call, all_families: Callable[[Call], None]) -> None:
    all_families(call)


PAGE = """
const elements = {};
function element() {
  return {
    children: [],
    appendChild(child) { this.children.push(child); return child; },
    replaceChildren(...children) { this.children = children; },
  };
}
const document = {
  createElement: element,
  getElementById: (id) => (elements[id] ??= element()),
};
const relative = fetch;
globalThis.fetch = (path) => relative(process.argv[2] + path);
let shown = false;
function setTimeout() {
  if (shown) return;
  shown = true;
  const rows = elements.recordings.children.map((r) => r.children.map((c) => c.textContent));
  console.log(JSON.stringify({
    rows, counts: elements.counts.textContent, gone: elements.gone.textContent,
  }));
}
"""


def test_the_simulators_page_shows_recordings(
    simulator: Simulator, node: str, tmp_path: Path
) -> None:
    simulator.add("lesson", timeline=[{"RECORDING": 100}], room_id=7)
    script = tmp_path / "page.js"
    script.write_text(PAGE + LIVE.partition("<script>")[2].partition("</script>")[0])
    done = subprocess.run(
        [node, str(script), simulator.endpoint],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    shown = json.loads(done.stdout)
    assert shown["gone"] == ""
    assert shown["rows"][0][:4] == ["lesson", 7, "RECORDING", "100.0 s"]
    assert shown["counts"].startswith("Requests: none.")
