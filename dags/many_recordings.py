# SPDX-License-Identifier: Apache-2.0
"""Wait for a thousand recordings in one run: mapped in chunks, below Airflow's max_map_length."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, task

from tiw_automation.airflow.sensors import TiwOnlineRecordSensor


@dag(
    schedule=None,
    tags=["tiw"],
    params={
        "record_task_ids": Param(
            ["lesson-algebra", "lesson-history"],
            type="array",
            items={"type": "string"},
            minItems=1,
            description="The TaskIds that StartOnlineRecord returned.",
        ),
        "chunk": Param(100, type="integer", minimum=1),
    },
)
def many_recordings() -> None:
    @task
    def chunks(params: dict[str, object] | None = None) -> list[list[str]]:
        """Split the list: each chunk is one deferred task, and one list of URLs."""
        assert params is not None
        ids, size = params["record_task_ids"], params["chunk"]
        assert isinstance(ids, list)
        assert isinstance(size, int)
        return [ids[start : start + size] for start in range(0, len(ids), size)]

    finished = TiwOnlineRecordSensor.partial(
        task_id="wait_for_recordings",
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(hours=6).total_seconds(),
        # The records of a thousand lessons have megabytes; the URLs are enough here.
        push_records=False,
        retries=2,
    ).expand(record_task_id=chunks())

    # A failed recording fails the task of its chunk, which has pushed the other URLs before.
    @task(trigger_rule="all_done")
    def publish(urls: list[str]) -> int:
        """Use the videos of one chunk."""
        print("\n".join(urls))
        return len(urls)

    publish.expand(urls=finished.output)


many_recordings()
