# SPDX-License-Identifier: Apache-2.0
"""The files of a release: a source archive, a wheel and the collection's archive.

All are made twice, from two copies that differ in all that must not matter: the folder, the order
in which its files were made, their permissions and times, the time zone and the seed of hashes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

from release.places import COLLECTION, ReleaseError
from release.running import run

_MANIFEST, _FILES = "MANIFEST.json", "FILES.json"
# What differs between two machines, as far as one machine can show it.
_WORLDS = (
    {"PYTHONHASHSEED": "1", "TZ": "UTC"},
    {"PYTHONHASHSEED": "2", "TZ": "Asia/Shanghai"},
)


def tracked(root: Path) -> list[Path]:
    """Return the files of a checkout that git tracks, relative to it, but those that are gone."""
    listing = run("git", "ls-files", "-z", cwd=root)
    names = (Path(name) for name in listing.split("\0") if name)
    return [name for name in names if (root / name).exists()]


def copy_checkout(root: Path, target: Path) -> None:
    """Copy the files that git tracks, as they are in the checkout."""
    for name in tracked(root):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)


def copy_changes(source: Path, root: Path) -> list[Path]:
    """Give the checkout's files what they have in a copy of it, or remove them as there.

    :return: the files that changed, relative to the checkout.
    """
    changed = []
    for name in tracked(root):
        new = (source / name).read_bytes() if (source / name).exists() else None
        if new == (root / name).read_bytes():
            continue
        changed.append(name)
        if new is None:
            (root / name).unlink()
        else:
            (root / name).write_bytes(new)
    return changed


def _copy_backwards(source: Path, target: Path) -> None:
    """Copy a folder, the last name first, without times and with other permissions."""
    for path in sorted(source.rglob("*"), reverse=True):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o700 if os.access(path, os.X_OK) else 0o600)


def commit_time(root: Path) -> int:
    """Return the time that all files get: SOURCE_DATE_EPOCH, else the last commit's."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or run("git", "log", "-1", "--format=%ct", cwd=root))


def build_twice(source: Path, work: Path, epoch: int) -> Path:
    """Build all files twice, and return the folder of the first ones.

    :param source: the copy to build from.
    :param work: an empty folder.
    :param epoch: the UNIX time that the files get.
    :raises ReleaseError: a file differs between both times.
    """
    _copy_backwards(source, work / "another checkout")
    folders = [work / "first", work / "second"]
    checkouts = [source, work / "another checkout"]
    for checkout, folder, world in zip(checkouts, folders, _WORLDS, strict=True):
        _build(checkout, folder, epoch, world)
    first, second = map(_digests, folders)
    different = sorted(name for name in first if first[name] != second.get(name))
    if different or first.keys() != second.keys():
        raise ReleaseError(f"built twice, these differ: {different or [*first, *second]}")
    return folders[0]


def _build(checkout: Path, folder: Path, epoch: int, world: dict[str, str]) -> None:
    env = {**world, "SOURCE_DATE_EPOCH": str(epoch)}
    run("pyproject-build", "--no-isolation", "--outdir", folder, checkout, env=env)
    galaxy = ("ansible-galaxy", "collection", "build", "--output-path", folder / "collection")
    run(*galaxy, checkout / COLLECTION, env=env)
    (archive,) = (folder / "collection").iterdir()
    (folder / archive.name).write_bytes(normalized(archive.read_bytes(), epoch))
    shutil.rmtree(folder / "collection")


def normalized(archive: bytes, epoch: int) -> bytes:
    """Return a collection's archive with sorted names, one time and no owner.

    ``ansible-galaxy`` lists the files as the file system does, and takes their times over.
    """
    members: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            members[member.name], file = member, tar.extractfile(member)
            texts[member.name] = file.read() if file else b""
    files, manifest = json.loads(texts[_FILES]), json.loads(texts[_MANIFEST])
    files["files"].sort(key=lambda entry: entry["name"])
    texts[_FILES] = json.dumps(files, indent=1).encode()
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(texts[_FILES]).hexdigest()
    texts[_MANIFEST] = json.dumps(manifest, indent=1).encode()
    packed = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, packed, mtime=epoch) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in (_MANIFEST, _FILES, *sorted(members.keys() - {_MANIFEST, _FILES})):
            tar.addfile(_plain(members[name], len(texts[name]), epoch), io.BytesIO(texts[name]))
    return packed.getvalue()


def _plain(member: tarfile.TarInfo, size: int, epoch: int) -> tarfile.TarInfo:
    """Return a copy of a member without what a machine left in it."""
    plain = tarfile.TarInfo(member.name)
    plain.type, plain.linkname, plain.size, plain.mtime = member.type, member.linkname, size, epoch
    plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return plain


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted(folder.iterdir())}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
