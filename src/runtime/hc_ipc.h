// SPDX-License-Identifier: Apache-2.0
#pragma once
/* Give up the shared copy behind an allocation that was exported (the owner of its region). */
void hc_ipc_export_drop(void *shared);
void hc_ipc_after_fork(void);
