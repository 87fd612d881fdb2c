# SPDX-License-Identifier: Apache-2.0
"""The limit of a wait that gets no answer at all."""

from __future__ import annotations

import asyncio

import pytest

from tiw_automation.core import (
    OnlineRecord,
    Outcome,
    RequestLimitExceeded,
    TaskNotFound,
    TiwError,
    TransportError,
    Verdict,
)
from tiw_automation.core.waiting import FirstAnswer

GONE = TransportError("gone")


def outcome(verdict: Verdict, error: TiwError | None = None, status: str | None = None) -> Outcome:
    record = None if status is None else OnlineRecord(1, "t", status=status)
    return Outcome(1, "t", verdict, record, error)


async def wait(first: FirstAnswer, *outcomes: Outcome, seconds: float = 0.1) -> None:
    async with first:
        for seen in outcomes:
            first.note(seen)
        await asyncio.sleep(seconds)


@pytest.mark.parametrize(
    "answer",
    [
        outcome(Verdict.PENDING, status="RECORDING"),
        outcome(Verdict.MISSING, TaskNotFound("x")),
        outcome(Verdict.UNKNOWN, RequestLimitExceeded("x")),
    ],
)
def test_an_answer_lifts_the_limit(answer: Outcome) -> None:
    first = FirstAnswer(0.02)
    asyncio.run(wait(first, outcome(Verdict.UNKNOWN, GONE), answer))
    assert not first.is_late


@pytest.mark.parametrize("seen", [(), (outcome(Verdict.UNKNOWN, GONE),)])
def test_without_an_answer_the_wait_ends(seen: tuple[Outcome, ...]) -> None:
    first = FirstAnswer(0.02)
    asyncio.run(wait(first, *seen, seconds=30))
    assert first.is_late
    assert isinstance(first.error, TransportError)
    assert first.error is GONE if seen else "0.02 s" in first.error.message


REFUSED = TransportError("not trusted", code="TlsError", retryable=False)


def test_a_certificate_that_is_not_trusted_ends_the_wait_at_once() -> None:
    first = FirstAnswer(30)
    asyncio.run(wait(first, outcome(Verdict.UNKNOWN, REFUSED), seconds=20))
    assert first.is_late
    assert first.error is REFUSED


def test_a_certificate_that_is_not_trusted_after_an_answer_does_not_end_the_wait() -> None:
    first = FirstAnswer(30)
    seen = outcome(Verdict.PENDING, status="RECORDING"), outcome(Verdict.UNKNOWN, REFUSED)
    asyncio.run(wait(first, *seen))
    assert not first.is_late


def test_another_timeout_is_not_swallowed() -> None:
    async def run() -> None:
        async with asyncio.timeout(0.01):
            await wait(FirstAnswer(None), seconds=30)

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def test_the_last_error_counts_only_without_an_answer() -> None:
    first = FirstAnswer(None)
    asyncio.run(wait(first, outcome(Verdict.UNKNOWN, GONE), seconds=0))
    assert first.error is GONE
    first.note(outcome(Verdict.PENDING, status="RECORDING"))
    assert first.error is None
