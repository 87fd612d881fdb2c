# SPDX-License-Identifier: Apache-2.0
"""What `make release` changes and builds, in copies; and what a release's files name."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiw_automation
from release import artifacts, changelogs, places, readme
from release.places import PLACES, ReleaseError

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ADDRESS = PROJECT["project"]["urls"]["Repository"]


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with the files that name the version."""
    for path in [*(place.path for place in PLACES), changelogs.PACKAGE]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.path))
def test_every_place_names_the_version(place: places.Place) -> None:
    version = tiw_automation.__version__
    assert set(place.versions(ROOT)) == {
        places.semantic(version) if place.of_collection else version
    }


def test_the_version_is_changed_in_all_places(copy: Path) -> None:
    assert places.change_all(copy, "9.8.7rc1") == [place.path for place in PLACES]
    versions = {(place.of_collection, v) for place in PLACES for v in place.versions(copy)}
    assert versions == {(False, "9.8.7rc1"), (True, "9.8.7-rc1")}
    assert places.current(copy) == "9.8.7rc1"
    assert places.change_all(copy, "9.8.7rc1") == []
    assert yaml.safe_load((copy / places.COLLECTION / "galaxy.yml").read_text())["version"] == (
        "9.8.7-rc1"
    )


def test_a_place_that_is_gone_is_an_error(copy: Path) -> None:
    (copy / PLACES[1].path).write_text("name: automation\n")
    with pytest.raises(ReleaseError, match=r"galaxy\.yml"):
        places.change_all(copy, "9.8.7")


@pytest.mark.parametrize("version", ["", "1", "v0.2.0", "0.2", "0.2.0-rc1", "0.2.0 "])
def test_an_odd_version_is_refused(version: str) -> None:
    with pytest.raises(ReleaseError, match="not a version"):
        places.check(version)


def test_the_collection_names_one_oldest_package() -> None:
    folder = ROOT / places.COLLECTION
    utility = (folder / "plugins/module_utils/_core.py").read_text()
    minimum = re.findall(r'MINIMUM_VERSION = "(.+)"', utility)
    assert (folder / "meta/ee-requirements.txt").read_text() == f"tiw-automation>={minimum[0]}\n"
    for plugin in (folder / "extensions/eda/plugins").rglob("*.py"):
        assert re.findall(r'^CORE = "tiw-automation>=(.+)"', plugin.read_text(), re.M) == minimum


def test_the_changes_of_a_release_are_written_into_the_checkout(tmp_path: Path) -> None:
    checkout, copy = tmp_path / "checkout", tmp_path / "copy"
    checkout.mkdir()
    for name in ("fragment.yml", "version.py", "same.py"):
        (checkout / name).write_text(name)
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    artifacts.copy_checkout(checkout, copy)
    (copy / "fragment.yml").unlink()
    (copy / "version.py").write_text("new")
    (copy / "cache.yaml").touch()
    assert artifacts.copy_changes(copy, checkout) == [Path("fragment.yml"), Path("version.py")]
    assert (checkout / "version.py").read_text() == "new"
    assert {path.name for path in checkout.iterdir()} == {".git", "same.py", "version.py"}
    assert artifacts.copy_changes(copy, checkout) == []


SECTION = (
    "# Changelog\n\n## [1.0.0] - {date}\n\n### Added\n{entry}\n## [0.9.0] - 2026-01-01\n\n- x\n"
)


def changelog(folder: Path, date: str = "unreleased", entry: str = "\n- Much.\n") -> Path:
    path = folder / changelogs.PACKAGE
    path.write_text(SECTION.format(date=date, entry=entry))
    return path


def test_the_section_of_a_version_gets_its_date(tmp_path: Path) -> None:
    path = changelog(tmp_path)
    assert changelogs.finish_package(tmp_path, "1.0.0", "2026-11-29")
    assert "## [1.0.0] - 2026-11-29\n" in path.read_text()
    assert not changelogs.finish_package(tmp_path, "1.0.0", "2027-01-01")


@pytest.mark.parametrize(
    ("version", "changes", "why"),
    [
        ("1.1.0", {}, "must be '## \\[1.1.0\\]"),
        ("0.9.0", {}, "must be '## \\[0.9.0\\]"),
        ("1.0.0", {"entry": ""}, "is empty"),
        ("1.0.0", {"date": "soon"}, "'soon' must be a date"),
    ],
)
def test_a_changelog_that_is_not_ready_is_refused(
    tmp_path: Path, version: str, changes: dict[str, str], why: str
) -> None:
    changelog(tmp_path, **changes)
    with pytest.raises(ReleaseError, match=why):
        changelogs.finish_package(tmp_path, version, "2026-11-29")


def packed(names: list[str], mtime: int, owner: str) -> bytes:
    """Return an archive as ansible-galaxy makes it, with the files in this order."""
    files = {"files": [{"name": name, "ftype": "file"} for name in names], "format": 1}
    texts = {
        "MANIFEST.json": json.dumps({"file_manifest_file": {"chksum_sha256": "?"}}),
        "FILES.json": json.dumps(files),
        **{name: name * 3 for name in names},
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname = len(text), mtime, owner
            member.mode = 0o700 if name == "run" else 0o600
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def test_an_archive_of_the_collection_depends_only_on_its_files() -> None:
    one = artifacts.normalized(packed(["b", "a", "run"], 5, "ada"), 1_700_000_000)
    assert one == artifacts.normalized(packed(["run", "a", "b"], 9, "bob"), 1_700_000_000)
    with tarfile.open(fileobj=io.BytesIO(one)) as tar:
        members = tar.getmembers()
        listing, manifest = (
            tar.extractfile(name).read()  # type: ignore[union-attr]
            for name in ("FILES.json", "MANIFEST.json")
        )
    assert [member.name for member in members] == ["MANIFEST.json", "FILES.json", "a", "b", "run"]
    assert {(m.mtime, m.uid, m.uname) for m in members} == {(1_700_000_000, 0, "")}
    assert [m.mode for m in members] == [0o644, 0o644, 0o644, 0o644, 0o755]
    assert [entry["name"] for entry in json.loads(listing)["files"]] == ["a", "b", "run"]
    digest = json.loads(manifest)["file_manifest_file"]["chksum_sha256"]
    assert digest == hashlib.sha256(listing).hexdigest()


def test_every_example_of_the_readme_can_be_run() -> None:
    kinds = {example.kind for example in readme.examples(ROOT / "README.md")}
    assert {"dag", "playbook", "shell"} <= kinds


def test_an_example_that_nothing_can_run_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# Title\n\n```perl\nprint\n```\n")
    with pytest.raises(ReleaseError, match="line 3"):
        readme.examples(page)


def test_the_packages_page_has_only_absolute_links() -> None:
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    page = (ROOT / "README.md").read_text()
    for substitution in hook["substitutions"]:
        assert ADDRESS in substitution["replacement"]
        page = re.sub(substitution["pattern"], substitution["replacement"], page)
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert not [link for link in links if not link.startswith(("https://", "#"))]
    ours = [link for link in links if "$HFPR_VERSION" in link]
    assert ours
    for link in ours:
        name = re.sub(r".*?\$HFPR_VERSION/|#.*", "", link)
        assert (ROOT / name).exists(), link
        assert ("/raw/" in link) == name.endswith((".png", ".svg")), link


def test_the_address_of_the_repository_is_one() -> None:
    """`pyproject.toml` has it; this finds a copy of it that was forgotten when it changed."""
    path = ADDRESS.removeprefix("https://github.com/")
    galaxy = yaml.safe_load((ROOT / places.COLLECTION / "galaxy.yml").read_text())
    assert galaxy["repository"] == ADDRESS
    for file in tracked():
        if file.suffix in (".md", ".rst", ".yml", ".yaml", ".toml", ".py", ".in"):
            text = file.read_text().replace("\\-", "-")
            for found in re.findall(r"github\.com/([\w.-]+/tiw-[\w-]+)", text):
                assert found == path, file


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_their_actions_and_ask_for_little(path: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    assert all("permissions" in job for job in workflow["jobs"].values())
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    listed = (ROOT / "RELEASING.md").read_text()
    for action in used:
        pin = re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", action)
        assert pin, action
        assert f"| `{pin[1]}` | {pin[3]} | `{pin[2]}` |" in listed, action


def test_a_report_of_a_fault_has_the_output_of_the_doctor() -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    doctor = next(part for part in form["body"] if part.get("id") == "doctor")
    assert "tiw doctor --output json" in doctor["attributes"]["label"]
    assert doctor["validations"]["required"]


def test_the_variables_of_the_containers_are_known() -> None:
    code = "".join(path.read_text() for path in (ROOT / "plugins").rglob("*.py"))
    for name in ("compose.yaml", "helm-values.yaml"):
        text = (ROOT / "containers" / name).read_text()
        for variable in re.findall(r"\b(?:TIW|TENCENTCLOUD)_[A-Z_]+", text):
            assert variable.removeprefix("TENCENTCLOUD") in code, variable
    compose = yaml.safe_load((ROOT / "containers/compose.yaml").read_text())
    environment = compose["x-airflow"]["environment"]
    from tiw_automation.simulator import server

    assert environment["TENCENTCLOUD_SECRET_ID"] == server.DEFAULT_SECRET_ID
    assert environment["TENCENTCLOUD_SECRET_KEY"] == server.DEFAULT_SECRET_KEY
