# SPDX-License-Identifier: Apache-2.0
"""The groups of --tp-2d, where other projects expect them."""

from mindspeed.core.tensor_parallel.comm_group_api import (
    CollectiveCommIntf,
    TPXCollectiveComm,
    TPYCollectiveComm,
)

__all__ = ["CollectiveCommIntf", "TPXCollectiveComm", "TPYCollectiveComm"]
