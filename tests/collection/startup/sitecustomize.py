# SPDX-License-Identifier: Apache-2.0
"""Keeps the bytecode of what Python imports from ZIP files, as Python does for other files.

Ansible sends the sources of a module in a ZIP file. Without this, each task compiles them again,
which takes a fifth of its CPU time. Python imports this file when it starts, because its folder is
on ``PYTHONPATH``; ``TESTS_BYTECODE`` names the folder in which the bytecode is kept.
"""

from __future__ import annotations

import _imp
import importlib.util
import marshal
import os
import sys
import types
import zipimport

FOLDER = os.environ.get("TESTS_BYTECODE", "")
compile_source = zipimport._compile_source  # type: ignore[attr-defined]


def compile_once(path: str, source: bytes) -> types.CodeType:
    """Return the code of a source, from the folder if it was compiled before."""
    name = f"{importlib.util.source_hash(source).hex()}.{sys.implementation.cache_tag}"
    kept = os.path.join(FOLDER, name)
    try:
        with open(kept, "rb") as file:
            code: types.CodeType = marshal.load(file)
    except (OSError, EOFError, ValueError):
        code = compile_source(path, source)
        keep(kept, code)
    # Tracebacks name this ZIP file, and not the one in which the source was first.
    _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]
    return code


def keep(path: str, code: types.CodeType) -> None:
    """Write a file that other processes see whole or not at all."""
    written = f"{path}.{os.getpid()}"
    with open(written, "wb") as file:
        marshal.dump(code, file)
    os.replace(written, path)


if FOLDER:
    zipimport._compile_source = compile_once  # type: ignore[attr-defined]
