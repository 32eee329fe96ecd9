# SPDX-License-Identifier: Apache-2.0
"""What a training command would do, told without running it: `mindspeed plan`."""
