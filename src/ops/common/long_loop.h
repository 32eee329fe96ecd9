// SPDX-License-Identifier: Apache-2.0
/* For operators that may take seconds: hc_results_unwanted() says when to give up. */
#pragma once
#include "hc_runtime.h"
