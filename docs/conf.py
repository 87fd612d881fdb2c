# SPDX-License-Identifier: Apache-2.0
"""The documentation as a site: `make docs` builds it in build/docs, without network.

Pages are Markdown (MyST). The exceptions are reStructuredText: the pages of Ansible's plugins,
which antsibull-docs renders, and the references that Sphinx makes from docstrings and commands.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

# Airflow writes its settings into this folder when it is imported, and logs that it did.
_airflow_home = tempfile.TemporaryDirectory(prefix="tiw-docs-")
os.environ["AIRFLOW_HOME"] = _airflow_home.name
logging.getLogger("airflow").setLevel(logging.WARNING)

import tiw_automation  # noqa: E402
from tiw_automation import core  # noqa: E402

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
REPOSITORY = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["repository"]

project = "tiw-automation"
author = "The tiw-automation contributors"
copyright = f"2026, {author}"
version = release = tiw_automation.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_antsibull_ext",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_inventories"]

# --- Pages ---

myst_heading_anchors = 4
# They would make a dash of the hyphens in --option.
smartquotes = False
# Files of the repository that the site has as pages.
PAGE_OF = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "collections/ansible_collections/tiw/automation/README.md": "collection.md",
    "collections/ansible_collections/tiw/automation/roles/archive_recordings/README.md": (
        "ansible/archive_recordings_role.rst"
    ),
    "docs/ansible": "ansible/index.rst",
}

# --- References ---

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

# The inventory of Python 3.11's documentation, vendored: the build has no network.
intersphinx_mapping = {"python": ("https://docs.python.org/3", "_inventories/python.inv")}
# By name, what the site refers to in documentation whose inventories are larger than the site.
_AIRFLOW = "https://airflow.apache.org/docs/task-sdk/stable/api.html#airflow.sdk."
_ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
ELSEWHERE = {
    "Asset": f"{_AIRFLOW}Asset",
    "ObjectStoragePath": f"{_AIRFLOW}ObjectStoragePath",
    "XComArg": f"{_AIRFLOW}XComArg",
    "timedelta": "https://docs.python.org/3/library/datetime.html#datetime.timedelta",
    "action_plugins": f"{_ANSIBLE}plugins/action.html",
    "ansible_collections.ansible.builtin.file_module": (
        f"{_ANSIBLE}collections/ansible/builtin/file_module.html"
    ),
    "common_return_values": f"{_ANSIBLE}reference_appendices/common_return_values.html",
}
nitpicky = True
nitpick_ignore_regex = [
    # What is not public, or an attribute that its class only lists, has no place to link to.
    ("py:.*", r"tiw_automation\.(core|simulator)\.[a-z_]+(\..*)?"),
    ("py:.*", "NameTemplate"),
    ("py:class", r"airflow\..*"),
    ("py:data", "[A-Z_]+"),
    ("py:attr", "type|record_start_time|record_stop_time"),
]

# --- Appearance ---

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
# site.css has these colours, for the dark theme too.
antsibull_ext_color_scheme = "none"
html_show_sphinx = False
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Adapt to the site what is written for the repository, for readers of code or for Ansible."""
    app.connect("source-read", lambda _, page, source: _relink(source, (DOCS / page).parent))
    app.connect("include-read", lambda _, file, page, source: _relink(source, DOCS / file.parent))
    app.connect("autodoc-process-signature", _readable)
    app.connect("missing-reference", _find)
    # After Sphinx has collected the titles.
    app.connect("doctree-read", _fit_ansible_page, priority=900)
    app.connect("doctree-read", _set_dashes, priority=901)


def _relink(source: list[str], folder: Path) -> None:
    """Let each link to a file of the repository lead to its page, else to the repository."""

    def relinked(link: re.Match[str]) -> str:
        in_repository, path, anchor = link.groups(default="")
        file = Path(os.path.normpath((ROOT if in_repository else folder) / path))
        if not file.exists():
            return link[0]
        name = file.relative_to(ROOT).as_posix()
        page = PAGE_OF.get(name, name.removeprefix("docs/"))
        if (DOCS / page).is_file():
            return f"](/{page}{anchor})"
        return f"]({REPOSITORY}/{'tree' if file.is_dir() else 'blob'}/main/{name}{anchor})"

    address = re.escape(REPOSITORY) + "/(?:blob|tree)/main/"
    source[0] = re.sub(rf"\]\(({address})?([^):#\s]+)(#[^)\s]*)?\)", relinked, source[0])


def _readable(*args: Any) -> tuple[str | None, str | None]:
    """Return a signature and its result in a form that Sphinx can parse."""
    signature, result = args[-2:]
    return signature and signature.replace("<factory>", "..."), result


def _find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.Node | None:
    """Find what has another name here than in the code, and what is on another site."""
    target = re.sub(r"^airflow\..*\.", "", node.get("reftarget", ""))
    if target in ELSEWHERE:
        return nodes.reference("", "", text, refuri=ELSEWHERE[target])
    if node.get("refdomain") != "py":
        return None
    python: Any = env.domains["py"]
    found = python.find_obj(env, "", "", _public_name(target), None, searchmode=1)
    if len(found) != 1:
        return None
    _, (page, anchor, *_) = found[0]
    return make_refnode(app.builder, node["refdoc"], page, anchor, text)


def _public_name(name: str) -> str:
    """Return the name in tiw_automation.core of what a module of the core defines."""
    last = name.rpartition(".")[2]
    home = getattr(getattr(core, last, None), "__module__", None)
    return f"tiw_automation.core.{last}" if name == f"{home}.{last}" else name


def _fit_ansible_page(app: Sphinx, page: nodes.document) -> None:
    """Give a rendered page of a plugin a short name in the menu; the theme lists its sections."""
    env = app.env
    if not env.docname.startswith("ansible/"):
        return
    title = next(page.findall(nodes.title))
    name, _, what = title.astext().replace("Tiw.A", "tiw.a").partition(" -- ")
    title[:] = [nodes.Text(f"{name}: {what}" if what else name)]
    short = nodes.Text(name.removeprefix("tiw.automation."))
    env.titles[env.docname] = nodes.title("", "", short)
    next(env.tocs[env.docname].findall(nodes.reference))[:] = [short.copy()]
    for contents in list(page.findall(nodes.topic)):
        contents.parent.remove(contents)


def _set_dashes(_: Sphinx, page: nodes.document) -> None:
    """Set two hyphens between blanks as a dash, outside of code."""
    for text in list(page.findall(nodes.Text)):
        if " -- " in text and not isinstance(text.parent, (nodes.literal, nodes.literal_block)):
            text.parent.replace(text, nodes.Text(text.replace(" -- ", " \u2013 ")))
