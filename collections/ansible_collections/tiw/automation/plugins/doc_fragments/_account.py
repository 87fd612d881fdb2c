# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that every module takes. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  secret_id:
    description:
      - The SecretId of a Tencent Cloud API key.
      - Id, key and token come whole from the first place that holds either half of the pair,
        the options first, then the environment variables E(TENCENTCLOUD_SECRET_ID),
        E(TENCENTCLOUD_SECRET_KEY) and E(TENCENTCLOUD_TOKEN). A pair is never completed from
        another place.
      - The environment is the one of the process that runs the module, which is that of
        C(ansible-playbook) itself where the task runs on the control node.
    type: str
  secret_key:
    description:
      - The SecretKey that belongs to O(secret_id). Without it E(TENCENTCLOUD_SECRET_KEY) is
        used, see O(secret_id).
    type: str
  token:
    description:
      - The token of temporary keys. Goes with O(secret_id) and O(secret_key).
      - In the environment E(TENCENTCLOUD_TOKEN), E(TENCENTCLOUD_SECURITY_TOKEN) or
        E(TENCENTCLOUD_SESSION_TOKEN), whichever is found first.
    type: str
  profile:
    description:
      - A profile of Tencent Cloud's command line, as C(tccli configure) writes it. Its keys, its
        region and its role go before those of the environment.
      - In the environment E(TENCENTCLOUD_PROFILE) or E(TCCLI_PROFILE).
      - Where there are no keys at all, those of the default profile, of
        C(~/.tencentcloud/credentials), of the role of the pod on TKE and of the role of the server
        in the cloud are tried.
    type: str
  role_arn:
    description:
      - The CAM role to assume with the keys, such as V(qcs::cam::uin/100000000001:roleName/tiw).
      - In the environment E(TENCENTCLOUD_ROLE_ARN) or E(TENCENTCLOUD_ASSUME_ROLE_ARN).
    type: str
  sdk_app_id:
    description:
      - The SdkAppId of the application that the recordings belong to, as the TIW console shows
        it. In the environment E(TIW_SDK_APP_ID).
    type: int
  site:
    description:
      - The site of the account. V(cn) is Tencent Cloud China, V(intl) Tencent Cloud
        International. It sets host and region, and goes before E(TIW_ENDPOINT) and the endpoint
        of a profile.
      - With neither O(site) nor O(region) the host C(tiw.tencentcloudapi.com) is asked with the
        region V(ap-singapore).
    type: str
    choices:
      - cn
      - intl
  region:
    description:
      - The region, V(ap-guangzhou) or V(ap-singapore). One that contradicts O(site) is an error.
      - In the environment E(TENCENTCLOUD_REGION). A region there that does not serve TIW is
        ignored with a warning, as it may be set for other products.
    type: str
  endpoint:
    description:
      - A host, C(host:port) or C(http(s)://) URL to send the requests to instead of the host of
        the O(site). In the environment E(TIW_ENDPOINT).
      - C(http://) is for this machine itself, unless O(allow_http) is set.
    type: str
  allow_http:
    description:
      - Whether a C(http://) O(endpoint) may be another machine than this one, where the network in
        between is your own. What is sent and answered there can be read on the way.
      - In the environment E(TIW_ALLOW_HTTP).
    type: bool
  requests_per_second:
    description:
      - The pace of the requests, V(19) if not given. Tencent Cloud allows 20 in a second for
        each action of an account, whoever sends them.
    type: float
  timeout:
    description:
      - The hard deadline of one request in seconds, V(10) if not given.
    type: float
  ca_file:
    description:
      - The path of a bundle of CA certificates to trust, or of a folder of them
        (C(openssl rehash)), on the host that runs the module.
    type: path
  proxy:
    description:
      - The URL of an HTTP proxy, such as V(http://proxy.example.com:3128).
    type: str
"""

    MODULE = r"""
options: {}
requirements:
  - python >= 3.11
  - tiw-automation >= 0.2.0, in the Python that runs the module
notes:
  - The task needs no managed host. On C(localhost), or with C(delegate_to=localhost), it runs on
    the control node. Set C(ansible_python_interpreter) to C({{ ansible_playbook_python }}) there,
    so that it runs in the Python that Ansible runs in; without it an inventory that lists
    C(localhost) makes Ansible pick a Python by itself.
  - With C(become) on the play, set C(become=false) on the task where the account comes from the
    environment, which C(sudo) does not pass on.
  - Do not pass keys through the C(environment) keyword of a task, which Ansible prints in full
    with C(-vvv).
"""
