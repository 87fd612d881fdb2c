# SPDX-License-Identifier: Apache-2.0
"""The limit of requests per second, and how close clients came to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

DEFAULT_LIMIT = 20
"""Tencent's limit for every TIW action, requests per second."""


@dataclass(slots=True)
class _Window:
    second: int = 0
    count: int = 0
    recent: deque[float] = field(default_factory=deque)


class RateLimiter:
    """Counts requests per (SecretId, action) in seconds of the server's clock.

    The first ``limit`` requests of each clock second pass and the rest are rejected: nothing is
    queued, and a rejected request counts in the statistics only. So up to twice the
    limit can pass within one second that straddles two clock seconds.

    :param limit: requests per clock second; 0 rejects nothing
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.limit = limit
        self.max_in_window: int = 0
        """The most requests, passed or rejected, that any one key sent within any 1 s."""
        self._windows: dict[tuple[str, str], _Window] = {}

    def request(self, secret_id: str, action: str, now: float) -> int | None:
        """Count one request; return ``None`` if it passes, else its number in this second.

        :param now: the server's clock, UNIX seconds
        """
        window = self._windows.get((secret_id, action))
        if window is None:
            window = self._windows[secret_id, action] = _Window()
        if window.second != int(now):
            window.second, window.count = int(now), 0
        window.count += 1
        recent = window.recent
        recent.append(now)
        while recent[0] <= now - 1:
            recent.popleft()
        if len(recent) > self.max_in_window:
            self.max_in_window = len(recent)
        return window.count if 0 < self.limit < window.count else None

    def forget_max(self) -> None:
        """Reset :attr:`max_in_window`, not the limit itself."""
        self.max_in_window = 0
        for window in self._windows.values():
            window.recent.clear()


def rejection_message(count: int, limit: int, language: str) -> str:
    """Return the gateway's message for a rejected request.

    :param language: the ``X-TC-Language`` header; the SDK sends ``zh-CN`` by default
    """
    if language == "zh-CN":
        return f"您当前每秒请求 `{count}` 次，超过了每秒频率上限 `{limit}`，请稍后重试。"  # noqa: RUF001
    return (
        f"Your current request times equals to `{count}` in a second, which exceeds the "
        f"frequency limit `{limit}` for a second. Please reduce the frequency of calls."
    )
