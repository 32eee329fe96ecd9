// SPDX-License-Identifier: Apache-2.0
#pragma once
void hc_ipc_after_fork(void);
