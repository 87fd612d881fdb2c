# SPDX-License-Identifier: Apache-2.0
"""Templates whose texts stay texts, also in a DAG with native rendering.

With ``render_template_as_native_obj=True`` Airflow evaluates every text that reads like Python: a
TaskId of digits becomes a number, JSON becomes a dictionary, quotes are lost. What is sent to
Tencent must be what was written. So a template that consists of one value which is not a text
gives that value, as in native rendering, and every other template gives its text.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.sdk import BaseOperator  # isort: skip
from jinja2 import Undefined

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import DAG, Context


class KeepsTexts(BaseOperator):
    """An operator whose templated texts are sent as they were written or rendered.

    A number that a template gives becomes its digits, as in a DAG without native rendering: all
    arguments accept digits. Lists, dictionaries, true, false and None are unchanged.
    """

    structured_fields: frozenset[str] = frozenset()
    """The templated fields that hold a list or a dictionary: its text is evaluated."""

    def _is_native(self) -> bool:
        own: bool | None = getattr(self, "render_template_as_native_obj", None)
        if own is not None:
            return own
        dag = self.get_dag()
        return dag is not None and dag.render_template_as_native_obj

    def _render(self, template: Any, context: Any, dag: DAG | None = None) -> Any:
        if self._is_native():
            return _rendered(template, context)
        return super()._render(template, context, dag)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # Airflow calls this for a mapped task as well.
        fields = list(template_fields)
        super()._do_render_template_fields(parent, fields, context, jinja_env, seen_oids)
        if parent is self and self._is_native():
            for name in self.structured_fields.intersection(fields):
                setattr(self, name, _structure(getattr(self, name)))


def _rendered(template: jinja2.Template, context: Any) -> Any:
    """Render as Airflow's native rendering does, without its evaluation of the text."""
    env = template.environment
    # A copy of the mapping itself: reading each of its values may give a warning.
    values = copy.copy(context)
    values.update((name, value) for name, value in template.globals.items() if name not in values)
    parts: list[Any] = []
    try:
        parts.extend(
            template.root_render_func(
                env.context_class(env, values, template.name, template.blocks)
            )
        )
        value = parts[0] if len(parts) == 1 else "".join(map(str, parts)) if parts else None
        # An undefined value raises only when it becomes a text.
        return str(value) if _is_number(value) or isinstance(value, Undefined) else value
    except Exception:
        env.handle_exception()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _structure(value: Any) -> Any:
    """Return the list or the dictionary that a text represents, else what was given."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "(", "{")):
        return value
    try:
        found = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return found if isinstance(found, (list, tuple, dict)) else value
