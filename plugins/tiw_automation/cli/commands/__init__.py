# SPDX-License-Identifier: Apache-2.0
"""The commands, one module each; :mod:`~tiw_automation.cli.app` imports one when it is called."""
