# SPDX-License-Identifier: Apache-2.0
"""Which module holds device memory, and when: `mindspeed memory` (docs/memory.md).

script.py is what each rank runs in front of its program, recorder.py listens to modules beside the allocator's own history,
records.py is the file between them and the command, replay.py adds up, report.py and page.py show it.
"""
