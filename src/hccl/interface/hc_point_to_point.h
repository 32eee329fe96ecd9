// SPDX-License-Identifier: Apache-2.0
/* Groups of point-to-point calls: kept here, exported by libhcomm, where clients look for them. */
#pragma once
#include "hc_util.h"
#include "hccl/hccl.h"

HC_SHARED HcclResult hc_group_start(void);
HC_SHARED HcclResult hc_group_end(void);
