# SPDX-License-Identifier: Apache-2.0
"""What the answers of single kinds of tasks hold beside their plain fields."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tiw_automation.core.records.fields import Fields
from tiw_automation.core.tasks.kind import Results, python_names

# Tencent transcodes decks of up to 2,000 pages.
_MOST_PAGES = 10_000


def of_transcode(read: Fields) -> Results:
    """Return the deck's URL, or one URL for each page of a static deck, and its thumbnails.

    A static deck's ResultUrl and every ThumbnailUrl are prefixes of ``N.jpg``. Only a dynamic
    deck has thumbnails, and only where they were asked for.
    """
    url, pages = read.url("ResultUrl"), read.integer("Pages") or 0
    if url is None or not url.endswith("/"):
        small = read.url("ThumbnailUrl") if url and read.text("ThumbnailResolution") else None
        return Results(
            urls=(url,) if url else (),
            thumbnail_urls=_pages(small, pages) or () if small else (),
            unreadable="ResultUrl" in read.unreadable,
        )
    found = _pages(url, pages)
    return Results(urls=found or (), unreadable=found is None)


def of_ppt_check(read: Fields) -> Results:
    """Return the URL of the repaired deck, if one was made."""
    url = read.url("ResultUrl")
    return Results(urls=(url,) if url else ())


def of_push(read: Fields) -> Results:
    """Return a push's backup, which is JSON text; a text that is not JSON stays as it is."""
    text = read.text("Backup")
    try:
        backup = python_names(json.loads(text)) if text else None
    except (ValueError, RecursionError):
        backup = text
    return Results(parsed={"backup": backup})


def of_snapshot(read: Fields) -> Results:
    """Return the pictures, or the code and message of a failure, of the nested result."""
    nested = read.data.get("Result")
    if not isinstance(nested, Mapping):
        return Results(unreadable=True)
    inner = Fields(nested, "Response.Result", action=read.action)
    code = inner.text("ErrorCode") or "OK"
    failure = None if code.strip().upper() == "OK" else (code, inner.text("ErrorMessage") or "")
    urls = inner.urls("Snapshots")
    return Results(urls=urls, failure=failure, unreadable=not urls and bool(inner.unreadable))


def of_video_generation(read: Fields) -> Results:
    """Return the videos' URLs; VideoInfos is deprecated and ignored."""
    urls = [video.url("VideoUrl") for video in read.items("VideoInfoList")]
    found = tuple(filter(None, urls))
    return Results(urls=found, unreadable=not found and "VideoInfoList" in read.unreadable)


def _pages(prefix: str, pages: int) -> tuple[str, ...] | None:
    """Return the URL of each page; None where the number of pages cannot be right."""
    if not 0 < pages <= _MOST_PAGES:
        return None
    return tuple(f"{prefix}{number}.jpg" for number in range(1, pages + 1))
