// SPDX-License-Identifier: Apache-2.0
/* libhcomm: the part of the interface that clients open under this name. */
#include "hc_point_to_point.h"

HcclResult HcclGroupStart(void) { return hc_group_start(); }
HcclResult HcclGroupEnd(void) { return hc_group_end(); }
