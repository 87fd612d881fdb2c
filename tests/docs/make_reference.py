# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs/reference from the code; test_reference.py compares them.

python tests/docs/make_reference.py     updates the pages
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from tiw_automation import core
from tiw_automation.airflow.get_provider_info import get_provider_info
from tiw_automation.cli.account import account_options
from tiw_automation.core import TiwClient, TiwError
from tiw_automation.core.api import error_codes
from tiw_automation.core.api.settings import DEFAULT_REQUESTS_PER_SECOND, DEFAULT_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs/reference"
PUBLIC: list[str] = vars(core)["__all__"]
PLUGINS = ROOT / "collections/ansible_collections/tiw/automation/plugins"

# --- Settings ---

VARIABLES = {
    "secret_id": "TENCENTCLOUD_SECRET_ID",
    "secret_key": "TENCENTCLOUD_SECRET_KEY",
    "token": "TENCENTCLOUD_TOKEN, TENCENTCLOUD_SECURITY_TOKEN, TENCENTCLOUD_SESSION_TOKEN",
    "profile": "TENCENTCLOUD_PROFILE, TCCLI_PROFILE",
    "role_arn": "TENCENTCLOUD_ROLE_ARN, TENCENTCLOUD_ASSUME_ROLE_ARN",
    "sdk_app_id": "TIW_SDK_APP_ID",
    "region": "TENCENTCLOUD_REGION",
    "endpoint": "TIW_ENDPOINT",
    "allow_http": "TIW_ALLOW_HTTP",
    "quota_share": "TIW_QUOTA_SHARE",
    "quota_url": "TIW_QUOTA_URL",
    "ca_file": "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE",
    "proxy": "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
}
MEANINGS = {
    "secret_id": "The SecretId of an API key.",
    "secret_key": "The SecretKey that belongs to it.",
    "token": "The token of temporary keys.",
}
DEFAULTS = {
    "secret_id": "the next source of keys",
    "profile": "`default`",
    "site": "host `tiw.tencentcloudapi.com`, region `ap-singapore`",
    "region": "the site's",
    "endpoint": "the site's host",
    "allow_http": "no",
    "requests_per_second": f"{DEFAULT_REQUESTS_PER_SECOND:g}",
    "quota_share": "1",
    "quota_url": "a pace for each host",
    "ca_file": "certifi's bundle",
    "timeout": f"{DEFAULT_TIMEOUT_S:g} s",
}


def settings() -> Iterator[list[str]]:
    """Yield where each setting is set: in Python, the environment, Airflow, Ansible, tiw."""
    extras, labels = airflow_fields()
    options, flags = ansible_options(), command_options()
    for name in setting_names():
        yield [
            code(name),
            code(VARIABLES.get(name, "")),
            labels.get(name) or extras.get(name, {}).get("label", ""),
            "yes" if name in options else "",
            code(flags.get(name, "")),
        ]


def meanings() -> Iterator[list[str]]:
    """Yield the meaning and the default of each setting."""
    texts = parameters(TiwClient)
    for name in setting_names():
        text = MEANINGS.get(name) or texts[name]
        yield [code(name), sentence(text), DEFAULTS.get(name, "")]


def setting_names() -> list[str]:
    """Return the names of the settings, which are the client's arguments."""
    return [name for name in TiwClient.__init__.__annotations__ if name != "return"]


def airflow_fields() -> tuple[dict[str, Any], dict[str, str]]:
    """Return the extras of Airflow's connection, and the settings that are fields of their own."""
    (connection,) = get_provider_info()["connection-types"]
    relabeled = connection["ui-field-behaviour"]["relabeling"]
    fields = {"secret_id": "login", "secret_key": "password", "endpoint": "host"}
    labels = {name: f"{relabeled[field]} (`{field}`)" for name, field in fields.items()}
    return connection["conn-fields"], labels


def ansible_options() -> dict[str, Any]:
    """Return the account options of the modules."""
    fragment = runpy.run_path(str(PLUGINS / "doc_fragments/_account.py"))["ModuleDocFragment"]
    options: dict[str, Any] = yaml.safe_load(fragment.DOCUMENTATION)["options"]
    return options


def command_options() -> dict[str, str]:
    """Return the option of ``tiw`` for each setting."""
    command = click.command(account_options(lambda: None))
    flags = {str(option.name): option.opts[0] for option in command.params}
    return {"timeout": flags.pop("request_timeout"), **flags}


def airflow_only() -> Iterator[list[str]]:
    """Yield the fields of Airflow's connection and configuration that are not settings."""
    extras, _ = airflow_fields()
    for name in sorted(set(extras) - set(setting_names())):
        about = extras[name].get("description", "The key that Tencent signs callbacks with.")
        yield [f"{code(name)} in the connection's extra", extras[name]["label"], about]
    for section, content in get_provider_info()["config"].items():
        for name, option in content["options"].items():
            yield [f"{code(f'[{section}] {name}')} in airflow.cfg", "", option["description"]]


# --- The record ---

_NOT_SENT = "if not sent"
NULL = {
    "sdk_app_id": "never",
    "task_id": "never",
    "status": "if the answer has no readable status",
    "finish_reason": "before the end",
    "record_start_time": "before the beginning",
    "record_stop_time": "before the end",
    "videos_expire_at": "if a video is elsewhere, or the end is not known",
    "replay_url": "if there is no replay",
    "video_urls": "never; empty before FINISHED",
    "videos": "never; empty before FINISHED",
    "kind": "never; `unknown` for another type",
    "omitted_durations": "never; empty without joined videos",
    "interrupts": "never; empty without interrupts",
}
_UNITS = {
    "_ms": "ms",
    "_bytes": "bytes",
    "width": "pixels",
    "height": "pixels",
    "record_start_time": "UNIX s",
    "record_stop_time": "UNIX s",
    "expire_at": "UNIX s",
    "pause_time_ms": "UNIX ms",
    "resume_time_ms": "UNIX ms",
}
LISTS = ("omitted_durations", "videos", "interrupts")
_OF_ANSIBLE = ("exists", "verdict", "message")


def record_keys(of: str = "") -> Iterator[list[str]]:
    """Yield each key of a record or of its lists' items: type and unit, meaning, when it is null.

    :param of: the name of a list; empty for the record itself
    """
    for key, about in described_keys(of).items():
        unit = max(filter(key.endswith, _UNITS), key=len, default="")
        kind = about["type"] if "elements" not in about else f"list of {about['elements']}"
        yield [
            code(key),
            ", ".join(filter(None, [kind, _UNITS.get(unit)])),
            plain(about["description"]),
            NULL.get(key, _NOT_SENT),
        ]


def described_keys(of: str = "") -> dict[str, Any]:
    """Return the keys of a record, or of a list's items, as the Ansible module documents them."""
    module = (PLUGINS / "modules/online_record_info.py").read_text("utf-8")
    documented = module.partition('RETURN = r"""')[2].partition('"""')[0]
    keys: dict[str, Any] = yaml.safe_load(documented)["records"]["contains"]
    if of:
        inner: dict[str, Any] = keys[of]["contains"]
        return inner
    return {name: about for name, about in keys.items() if name not in _OF_ANSIBLE}


def example() -> str:
    """Return a record with the values that the Ansible module documents."""
    shown = {name: about.get("sample") for name, about in described_keys().items()}
    for name in LISTS:
        shown[name] = [{key: about["sample"] for key, about in described_keys(name).items()}]
    return f"```json\n{json.dumps(shown, indent=2)}\n```\n"


# --- Error codes ---

# Codes of ours that have no class of their own.
OWN_CODES = {
    "Archive.Storage": "The destination of an archive cannot be written to.",
    "CallbackTaken": "The application has another callback address; `tiw callbacks` keeps it.",
    "Cancelled": "The task that polls was cancelled from outside.",
    "ConnectionUnreadable": "Airflow's connection cannot be read just now.",
    "FinishReason.X": "The recording ended with the reason X, which is not accepted.",
    "KeysNotRenewed": "Temporary keys could not be renewed.",
    "NoThread": "The process cannot start a thread.",
    "NoUrls": "The task has finished without a URL.",
    "NoVideos": "The recording has finished without a video.",
    "ProxyError": "The proxy refused the connection, or cannot be reached.",
    "StateOutOfReach": "The task can no longer reach the state that was waited for.",
    "TlsError": "The server's certificate is not trusted.",
    "Undecided": "It is unknown whether this task is the one that was started.",
    "Video.Redirected": "The server redirects to a host that is not allowed.",
}


def api_codes() -> Iterator[list[str]]:
    """Yield the codes of the API: class, whether to try again, what to do."""
    for name in sorted(error_codes.CLASS_OF_CODE.keys() | error_codes._HINTS):
        error = error_codes.api_error(name, name)
        again = "yes" if error.retryable else "no"
        yield [code(name), code(type(error).__name__), again, error.hint or ""]


def own_codes() -> Iterator[list[str]]:
    """Yield the codes that this package gives: class, meaning, what to do."""
    found: dict[str, type[TiwError]] = {}
    for kind in error_classes():
        found.setdefault(kind.default_code, kind)
    for name in sorted(found.keys() - error_codes.CLASS_OF_CODE.keys() | OWN_CODES.keys()):
        if name in OWN_CODES:
            yield [code(name), "", OWN_CODES[name]]
        else:
            yield [code(name), code(found[name].__name__), sentence(found[name].__doc__ or "")]


def error_classes() -> Iterator[type[TiwError]]:
    """Yield the classes of errors that are public or have a code of their own, parents first."""
    for name in PUBLIC:
        getattr(core, name)
    kinds = [TiwError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        if kind.__name__ in PUBLIC or "default_code" in vars(kind):
            yield kind


def recorder_codes() -> Iterator[list[str]]:
    """Yield the recorder's own codes, and what to do."""
    for number, hint in error_codes._RECORDER_HINTS.items():
        yield [code(str(number)), hint]


# --- Text ---


def code(names: str) -> str:
    """Return names, with commas between them, as code."""
    return ", ".join(f"`{name}`" for name in names.split(", ") if name)


def plain(text: str | list[str]) -> str:
    """Return a text in Ansible's markup as Markdown."""
    joined = text if isinstance(text, str) else " ".join(text)
    return re.sub(r"\b(?:C|V|O|RV)\(([^)]*)\)", r"`\1`", joined)


def sentence(docstring: str) -> str:
    """Return the first paragraph of a docstring as a Markdown sentence."""
    text = " ".join(docstring.strip().partition("\n\n")[0].split()).replace("``", "`")
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return text[:1].upper() + text[1:]


def parameters(described: type) -> dict[str, str]:
    """Return the texts of a docstring's parameters."""
    found = re.findall(r":param (\w+): (.*?)(?=\n\s*:|\Z)", described.__doc__ or "", re.DOTALL)
    return dict(found)


def table(heads: str, rows: Iterable[list[str]]) -> str:
    """Return a table in Markdown."""
    names = heads.split(", ")
    cells = [[re.sub(r"[|<]", r"\\\g<0>", cell) for cell in row] for row in rows]
    lines = [" | ".join(row) for row in [names, *cells]]
    lines.insert(1, "|".join("---" for _ in names))
    return "".join(f"|{line}|\n" if line.startswith("---") else f"| {line} |\n" for line in lines)


PARTS: dict[str, Callable[[], str]] = {
    "places": lambda: table("setting, environment, Airflow, Ansible, tiw", settings()),
    "meanings": lambda: table("setting, meaning, default", meanings()),
    "airflow-only": lambda: table("where, label, meaning", airflow_only()),
    "record": lambda: table("key, type, meaning, null", record_keys()),
    **{
        name: partial(lambda of: table("key, type, meaning, null", record_keys(of)), name)
        for name in LISTS
    },
    "example": example,
    "api-codes": lambda: table("code, class, retryable, what to do", api_codes()),
    "recorder-codes": lambda: table("code, what to do", recorder_codes()),
    "own-codes": lambda: table("code, class, meaning", own_codes()),
}


def rendered(page: Path) -> str:
    """Return a page with its tables as they must be."""

    def render(part: re.Match[str]) -> str:
        return f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}"

    markers = r"(<!-- ([\w-]+): begin -->\n).*?(<!-- \2: end -->)"
    return re.sub(markers, render, page.read_text("utf-8"), flags=re.DOTALL)


if __name__ == "__main__":
    for path in PAGES.glob("*.md"):
        path.write_text(rendered(path), "utf-8")
