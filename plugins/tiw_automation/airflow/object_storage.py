# SPDX-License-Identifier: Apache-2.0
"""An Airflow object storage as a place for an archive."""

from __future__ import annotations

from typing import Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.sdk import ObjectStoragePath  # isort: skip
from fsspec.implementations.local import LocalFileSystem

from tiw_automation.core.archive import Bucket, LocalStorage, Storage


def storage_of(folder: ObjectStoragePath, **local: Any) -> Storage:
    """Return the storage of an Airflow path.

    Reads the storage's connection, so call it from the task's own thread.

    :param local: what :class:`LocalStorage` takes, for a folder of this machine.
    """
    if isinstance(folder.fs, LocalFileSystem):
        return _Folder(folder.path, **local)
    # As text: Airflow 3.1 warns each time that paths are joined.
    return Bucket(folder.fs, str(folder.path), str(folder))


class _Folder(LocalStorage):
    """A folder of this machine, whose paths are URLs as everywhere in Airflow."""

    def path(self, name: str) -> str:
        return f"file://{self.folder / name}"
