# SPDX-License-Identifier: Apache-2.0
"""Which request leaves next: one pace for an account, whichever process a request comes from."""
