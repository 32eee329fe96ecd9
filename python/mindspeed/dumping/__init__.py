# SPDX-License-Identifier: Apache-2.0
"""What the modules of a model computed, as statistics in files, and where two runs part.

records.py says what is kept of a tensor and how it is written, recorder.py listens to modules, compare.py reads two
runs. The feature is features/tooling/npu_datadump.py, the command `mindspeed diff`, which needs no torch.
"""
