# SPDX-License-Identifier: Apache-2.0
"""Pictures of Airflow's pages for the documentation, taken in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connections import connection
from playwright.sync_api import Page, expect, sync_playwright

from airflow_stack import AirflowStack
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
DAG = "wait_for_recording"
SENSOR = "wait_for_recordings"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The browser sends no requests of its own.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser_path() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"These tests need a browser, one of {', '.join(BROWSERS)}, on PATH."
    return found


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def airflow(
    browser_path: str, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "dags" / f"{DAG}.py", dags)
    with AirflowStack(
        home,
        dags_folder=dags,
        plugins_folder=ROOT / "plugins",
        environment={**simulator.environment(), "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser_path: str, airflow: Any) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(QUIET))
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        opened.goto(f"{airflow.url}/auth/login/")
        opened.fill("input[name=username]", airflow.user)
        opened.fill("input[name=password]", airflow.password)
        opened.click("button[type=submit]")
        expect(opened.get_by_text("Dags").first).to_be_visible()
        yield opened
        browser.close()


def save(page: Page, name: str) -> None:
    # Animations must have ended, so that equal pages give equal pictures.
    page.wait_for_timeout(1000)
    IMAGES.mkdir(exist_ok=True)
    page.screenshot(path=IMAGES / f"{name}.png")


def test_the_connection_form(page: Page, airflow: Any) -> None:
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").first.click()
    page.locator("input[name=connection_id]").fill("tencentcloud_default")
    page.get_by_role("combobox").last.click()
    page.keyboard.type("Tencent")
    page.keyboard.press("Enter")
    for label in ("SecretId", "SecretKey", "Endpoint"):
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
    save(page, "connection-standard")
    page.get_by_text("Extra Fields", exact=True).click()
    for label in ("SdkAppId", "Site", "Region", "Callback key", "User signature key", "Proxy"):
        expect(page.get_by_text(label, exact=True).first).to_be_attached()
    expect(page.get_by_text("from endpoint and region", exact=True)).to_be_visible()
    save(page, "connection-extra")


def test_the_test_button_of_a_connection(page: Page, airflow: Any, simulator: Simulator) -> None:
    stored = connection(simulator)
    body = {**stored, "connection_id": "simulator", "extra": json.dumps(stored["extra"])}
    airflow.post("/connections", body)
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name=re.compile("Test Connection")).first.click()
    expect(page.get_by_text("The keys work and the application is theirs.")).to_be_visible()
    save(page, "connection-tested")


def test_a_task_that_waits_and_has_its_links(
    page: Page, airflow: Any, simulator: Simulator
) -> None:
    simulator.add("algebra", timeline=[{"RECORDING": 3600}, {"STOPPED": 3}])
    run_id = airflow.trigger(DAG, {"record_task_ids": ["algebra"]})
    airflow.wait_for_task(DAG, run_id, SENSOR, "deferred")
    page.goto(f"{airflow.url}/dags/{DAG}/runs/{run_id}/tasks/{SENSOR}/details")
    expect(page.get_by_text("Deferred").first).to_be_visible()
    console = page.get_by_role("link", name="TIW console")
    expect(console).to_have_attribute("href", "https://console.cloud.tencent.com/tiw")
    save(page, "task-deferred")
    simulator.advance(3600)
    airflow.wait_for_run(DAG, run_id)
    page.reload()
    replay = page.get_by_role("link", name="Replay")
    expect(replay).to_have_attribute("href", re.compile("/videos/.*algebra/"))
    save(page, "task-finished")
    task = f"{airflow.url}/dags/{DAG}/runs/{run_id}/tasks/{SENSOR}"
    page.goto(task)
    for status in ("RECORDING", "FINISHED"):
        expect(page.get_by_text(re.compile(f"algebra is {status}")).first).to_be_visible()
    save(page, "task-log")
    page.goto(f"{task}/rendered_templates")
    expect(page.get_by_text("record_task_id").first).to_be_visible()
    expect(page.get_by_text("algebra").first).to_be_visible()
    save(page, "task-rendered")
    page.goto(f"{airflow.url}/dags/{DAG}")
    expect(page.get_by_text("fetch").first).to_be_visible()
    save(page, "dag")
    assert simulator.rejects == 0
