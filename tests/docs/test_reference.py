# SPDX-License-Identifier: Apache-2.0
"""The reference pages name what the code has, and nothing else."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from tiw_automation import core
from tiw_automation.core import OnlineRecord

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "plugins/tiw_automation"
TOOL = runpy.run_path(str(ROOT / "tests/docs/make_reference.py"))
PUBLIC = vars(core)["__all__"]
PUBLIC_MODULES = ("hooks", "sensors", "operators", "transfers", "triggers", "assets", "links")


def documented(page: str) -> list[str]:
    text = (DOCS / "reference" / page).read_text()
    return re.findall(r"^\.\. (?:auto\w+|py:data):: (\w+)$", text, re.MULTILINE)


def code_of_package() -> str:
    folders = ("core", "cli", "airflow")
    return "".join(path.read_text() for f in folders for path in (PACKAGE / f).rglob("*.py"))


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=lambda p: p.name)
def test_the_tables_are_up_to_date(page: Path) -> None:
    assert page.read_text() == TOOL["rendered"](page), "run python tests/docs/make_reference.py"


def test_every_public_name_of_the_core_has_its_place() -> None:
    assert sorted(documented("core.rst")) == sorted(PUBLIC)


def test_every_error_of_the_page_is_public() -> None:
    classes = re.findall(
        r"^\| `[\w.]+` \| `(\w+)` \|", (DOCS / "reference/errors.md").read_text(), re.M
    )
    assert set(classes) <= set(PUBLIC)


def test_every_public_name_of_the_provider_has_its_place() -> None:
    public = set()
    for module in PUBLIC_MODULES:
        tree = ast.parse((PACKAGE / f"airflow/{module}.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                public |= {name.asname for name in node.names if name.asname == name.name}
            elif isinstance(node, ast.ClassDef) and node.name.startswith("Tiw"):
                public.add(node.name)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                public |= set(ast.literal_eval(node.value))
    assert sorted(documented("airflow.rst")) == sorted(filter(None, public))


def test_the_page_of_the_record_has_every_key() -> None:
    entry: dict[str, Any] = {"video_time_ms": 1, "url": "http://a/1.mp4", "user_id": "teacher"}
    record = OnlineRecord.from_dict({name: [entry] for name in TOOL["LISTS"]}).to_dict()
    assert TOOL["described_keys"]().keys() == record.keys()
    for name in TOOL["LISTS"]:
        assert TOOL["described_keys"](name).keys() == record[name][0].keys()


def test_the_page_of_settings_has_every_variable_that_the_code_reads() -> None:
    variable = re.compile(r"\b(?:TIW|TENCENTCLOUD|TCCLI|TKE)_[A-Z_]+[A-Z]\b")
    page = (DOCS / "reference/settings.md").read_text()
    assert set(variable.findall(page)) == set(variable.findall(code_of_package()))


def test_every_code_without_a_class_is_explained() -> None:
    places = re.findall(r'\bcode=(".*),$', code_of_package(), re.MULTILINE)
    given = {code for place in places for code in re.findall(r'"([A-Za-z.]+)"', place)}
    classes = {kind.default_code for kind in TOOL["error_classes"]()}
    assert given - classes <= TOOL["OWN_CODES"].keys()


def test_every_page_is_in_the_menu() -> None:
    menu = re.findall(r"^(?:.* <)?([\w/-]+)>?$", (DOCS / "index.md").read_text(), re.MULTILINE)
    pages = {
        str(p.relative_to(DOCS).with_suffix(""))
        for p in DOCS.rglob("*.*")
        if p.suffix in (".md", ".rst")
    }
    assert {page for page in pages if not page.startswith("ansible/")} - {"index"} <= set(menu)
