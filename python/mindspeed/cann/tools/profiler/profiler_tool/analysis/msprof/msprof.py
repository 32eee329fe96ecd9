# SPDX-License-Identifier: Apache-2.0
"""Where torch_npu looks for the vendor's program; the work is mindspeed.profiling's."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[7]))

from mindspeed.profiling.msprof import main

sys.exit(main())
