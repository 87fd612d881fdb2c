# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import airflow
import jsonschema

import tiw_automation.airflow
from tiw_automation.airflow.get_provider_info import get_provider_info


def test_it_fits_airflows_own_schema() -> None:
    schema = Path(airflow.__file__).with_name("provider_info.schema.json")
    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))


def test_its_name_is_the_distributions() -> None:
    assert get_provider_info()["package-name"] == distribution("tiw-automation").metadata["Name"]


def test_everything_it_names_can_be_imported() -> None:
    info = get_provider_info()
    for kind in ("hooks", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                import_module(module)
    (connection,) = info["connection-types"]
    module, _, name = connection["hook-class-name"].rpartition(".")
    hook = getattr(import_module(module), name)
    assert hook.conn_type == connection["connection-type"]
    assert hook.get_ui_field_behaviour()["relabeling"]["login"] == "SecretId"


def test_it_imports_nothing_of_ours_or_the_sdks() -> None:
    program = (
        "import sys; from tiw_automation.airflow.get_provider_info import get_provider_info; "
        "get_provider_info(); "
        "print([m for m in sys.modules if m.startswith(('tencentcloud', 'tiw_automation.core', "
        "'airflow', 'requests'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_module_imports_without_a_warning() -> None:
    names = [module.name for module in pkgutil.iter_modules(tiw_automation.airflow.__path__)]
    assert "sensors" in names
    program = "; ".join(f"import tiw_automation.airflow.{name}" for name in names)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
