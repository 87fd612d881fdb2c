"""Check and transcode a slide deck, then do something with each of its pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.request import urlopen

from airflow.sdk import Param, XComArg, dag, task

from tiw_automation.airflow.operators import TiwPptCheckOperator, TiwTranscodeOperator


@dag(
    schedule=None,
    tags=["tiw"],
    params={
        "url": Param(
            "https://decks.example/lesson.pptx",
            type="string",
            description="The deck's URL, URL-encoded; Tencent downloads it.",
        ),
    },
)
def transcode_slides() -> None:
    # Only the Chinese site has this check.
    check = TiwPptCheckOperator(
        task_id="check",
        url="{{ params.url }}",
        auto_handle_unsupported_element=True,
        wait_for_completion=True,
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=30),
    )

    @task
    def deck(checks: Any, params: Any = None) -> str:
        """Return the URL of the repaired deck, or of the given one if it needs no repair."""
        (checked,) = checks
        if checked["urls"]:
            return str(checked["urls"][0])
        if not checked["result"]["is_ok"]:
            raise ValueError(f"The deck has errors: {checked['result']['slides']}")
        return str(params["url"])

    transcode = TiwTranscodeOperator(
        task_id="transcode",
        url=deck(XComArg(check, key="tasks")),
        # Pictures instead of HTML5: one URL for each page.
        is_static_ppt=True,
        wait_for_completion=True,
        deferrable=True,
        wait_timeout=timedelta(hours=1),
        # A deck that cannot be transcoded fails the task without a retry.
        retries=2,
        retry_delay=timedelta(seconds=30),
    )

    @task(retries=1, retry_delay=timedelta(seconds=10))
    def publish(url: str) -> int:
        """Download a page and return its size in bytes."""
        with urlopen(url, timeout=60) as answer:
            return len(answer.read())

    publish.expand(url=transcode.output)


transcode_slides()
