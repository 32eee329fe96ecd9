// SPDX-License-Identifier: Apache-2.0
/* Messages between ranks of several hosts. */
#pragma once
#include "hc_transport.h"

extern const struct hc_transport hc_transport_ucx;
