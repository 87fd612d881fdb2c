# SPDX-License-Identifier: Apache-2.0
"""Polls missing recordings again when they are due, as long as any is missing."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from itertools import islice

from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.events.missing import MissingRecordings, asked_with
from tiw_automation.core.formatting import escaped

logger = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[TiwClient]]
"""Makes a client, with the settings read anew, so that a correction needs no restart."""

# Recordings that are found missing within this time are polled together.
_GATHER_S = 0.25
# How often the settings are read anew; at first every poll interval.
_READ_SETTINGS_S = 60.0
# How often an error for all missing recordings is logged.
_ERROR_EVERY_S = 3600.0
_NAMED_IN_AN_ERROR = 3


class MissingPolls:
    """When the missing recordings of a feed are polled again.

    :param recordings: the missing recordings.
    :param connect: makes a client of its own each time.
    :param sdk_app_id: the application, or None for the client's.
    :param poll_interval: the least seconds between two looks at what is due.
    :param poll: called with the task ids that are due.
    """

    def __init__(
        self,
        recordings: MissingRecordings,
        connect: Connect,
        *,
        sdk_app_id: int | str | None,
        poll_interval: float,
        poll: Callable[[list[str]], None],
    ) -> None:
        self._recordings = recordings
        self._connect = connect
        self._sdk_app_id = sdk_app_id
        self._poll_interval = poll_interval
        self._poll = poll
        self._pause_s = poll_interval
        self._logged_at = -math.inf
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Poll in the background until no recording is missing."""
        if self._recordings and self._task is None:
            self.poll_soon()
            self._task = asyncio.get_running_loop().create_task(self._run())

    def poll_soon(self) -> None:
        """Read the settings every poll interval again, then more and more seldom."""
        self._pause_s = self._poll_interval

    def stop(self) -> None:
        """End the polling; :meth:`start` may begin it again."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        await asyncio.sleep(_GATHER_S)
        while self._recordings:
            before = len(self._recordings)
            settings = await self._settings()
            if settings is not None:
                self._poll(self._recordings.due(settings, time.time()))
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, max(_READ_SETTINGS_S, self._poll_interval))
            # Not while their number grows: the error comes once an hour and counts them all.
            if settings is not None and 0 < len(self._recordings) <= before:
                self._log_error(settings)
        self._task = None

    async def _settings(self) -> str | None:
        """Return :func:`asked_with` of the settings now, or None where they cannot be read."""
        try:
            with await self._connect() as client:
                return asked_with(client, self._sdk_app_id)
        except Exception as error:
            # Whatever the error is, the next look reads them anew.
            logger.info("The settings cannot be read now: %s", str(error) or repr(error))
            return None

    def _log_error(self, settings: str) -> None:
        now = time.monotonic()
        if now - self._logged_at < _ERROR_EVERY_S:
            return
        self._logged_at = now
        logger.error(
            "%d recordings do not exist (%s) by the answers to %s. Check that application, host "
            "and keys are those of the recordings: with other settings all of these are polled "
            "at once, with the same after pauses of 5 minutes to 24 hours.",
            len(self._recordings),
            ", ".join(escaped(i) for i in islice(self._recordings, _NAMED_IN_AN_ERROR)),
            settings,
        )
