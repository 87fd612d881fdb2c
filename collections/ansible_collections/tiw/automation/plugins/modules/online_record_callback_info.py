#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: online_record_callback_info
short_description: Read where Tencent Cloud posts the events of recordings
version_added: 0.1.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Reads the address to which Tencent Cloud's Interactive Whiteboard (TIW) posts the events of the
    real-time recordings of an application (C(DescribeOnlineRecordCallback)).
  - It returns whether a key is set, but never the key.
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.info_module
  - tiw.automation._attributes.action_group
  - tiw.automation._account
  - tiw.automation._account.module
seealso:
  - module: tiw.automation.online_record_callback
"""

EXAMPLES = r"""
- name: Read the address
  tiw.automation.online_record_callback_info:
    sdk_app_id: 1400000001
  delegate_to: localhost
  register: found

- name: Require signed callbacks
  ansible.builtin.assert:
    that: found.callback.key_is_set
"""

RETURN = r"""
callback:
  description: The settings.
  returned: success
  type: dict
  contains:
    sdk_app_id:
      description: The application.
      type: int
      returned: always
      sample: 1400000001
    url:
      description:
        - The address, null if none is set. The query, the user and the password are left out, as
          they may be secret.
      type: str
      returned: always
      sample: https://hooks.example.com/tiw
    key_is_set:
      description: Whether callbacks are signed. The key itself is never returned.
      type: bool
      returned: always
      sample: true
code:
  description: The error code of Tencent Cloud or of this collection.
  returned: failure
  type: str
  sample: UnauthorizedOperation
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: How to correct the error.
  returned: failure
  type: str
  sample: Grant the CAM action to this key.
retryable:
  description: Whether the same task may succeed later without a change.
  returned: failure
  type: bool
  sample: false
"""

import typing as t

from ansible_collections.tiw.automation.plugins.module_utils._callback import (
    callback_dict,
    hide_query,
)
from ansible_collections.tiw.automation.plugins.module_utils._module import run_module

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import TiwClient


def run(module: AnsibleModule, client: TiwClient) -> dict[str, t.Any]:
    found = client.describe_online_record_callback()
    hide_query(module, found.url)
    return {"callback": callback_dict(client.sdk_app_id(), found.url, found.key)}


def main() -> None:
    run_module(run, {})


if __name__ == "__main__":
    main()
