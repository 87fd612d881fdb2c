# SPDX-License-Identifier: Apache-2.0
"""What can be waited for: the states of a task, and which of them a wait is for."""
