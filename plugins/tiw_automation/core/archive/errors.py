# SPDX-License-Identifier: Apache-2.0
"""Why a video was not copied."""

from __future__ import annotations

from tiw_automation.core.errors import TiwError


class VideoError(TiwError):
    """A video cannot be copied; ``retryable`` is whether a later attempt may succeed."""

    default_code = "Video"


class VideoForbidden(VideoError):
    """The bucket does not serve the video without a signature (HTTP 401 or 403)."""

    default_code = "Video.Forbidden"
    default_hint = (
        "The URL carries no signature, so the bucket or the CDN in front of it must be readable "
        "from here: grant public read on the recordings' prefix, or allow this machine's address."
    )


class VideoGone(VideoError):
    """The video does not exist (HTTP 404 or 410)."""

    default_code = "Video.Gone"
    default_hint = (
        "Tencent deletes the videos in its public bucket three days after the recording. Archive "
        "right after FINISHED, or configure a bucket of your own in the TIW console."
    )


class VideoChanged(VideoError):
    """The file differs from the record, or from the file whose download began."""

    default_code = "Video.Changed"
    default_hint = "Ask for the recording again: its record may name another file or size by now."


class VideoTooLarge(VideoError):
    """The video has more bytes than ``max_bytes``."""

    default_code = "Video.TooLarge"
    default_hint = "Raise max_bytes if videos may be that large."


class VideoHostRefused(VideoError):
    """Videos may not come from this host, or from the address of its name."""

    default_code = "Video.HostRefused"
    default_hint = (
        "If videos may come from there, name the host in the setting hosts (or in "
        "TIW_ARCHIVE_HOSTS)."
    )


class VideoBusy(VideoError):
    """Another run holds the lock of this video or manifest, and makes no progress."""

    default_code = "Archive.Busy"
    default_retryable = True
    default_hint = "Wait for the other run, or end it if it hangs."


class DownloadStopped(VideoError):
    """The copying was stopped on request."""

    default_code = "Video.Stopped"
    default_retryable = True


class FileInTheWay(VideoError):
    """A file of that name is not known to be this video, or is another one."""

    default_code = "Archive.FileInTheWay"
    default_hint = "Move it away, choose other names, or set overwrite to true to replace it."
