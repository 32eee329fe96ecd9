// SPDX-License-Identifier: Apache-2.0
/* Options: of the process (HcclSetConfig), of one communicator (HcclCommConfig, HcclSetCommConfig). */
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "hc_comm_config.h"
#include "hc_option.h"

/* One per HcclConfig, HCCL_CONFIG_RESERVED excluded. */
static _Atomic int32_t g_config[HCCL_CONFIG_RESERVED];

/* HcclSetConfig, or what the environment says: sums are made in the order of ranks in either case, so the
 * value is kept for who asks and changes nothing. */
static uint32_t deterministic(void) {
    const bool asked = !hc_option_is(HC_OPT_HCCL_DETERMINISTIC, "false");
    const int32_t set = atomic_load(&g_config[HCCL_DETERMINISTIC]);
    return (uint32_t)(set != 0 ? set : asked);
}

/* A caller built against an older interface fills fewer bytes; what lies behind them is not read. */
static bool has_field(size_t filled, size_t offset, size_t size) { return filled >= offset + size; }
#define HAS(field) has_field(filled, offsetof(HcclCommConfig, field), sizeof config->field)

static HcclResult take_text(const char *caller, const char *field, char to[HCCL_COMM_NAME_BYTES],
                            const char from[HCCL_COMM_NAME_BYTES]) {
    HC_CHECK(memchr(from, '\0', HCCL_COMM_NAME_BYTES) != NULL, HCCL_E_PARA,
             "%s: %s has no end within %d bytes", caller, field, HCCL_COMM_NAME_BYTES);
    snprintf(to, HCCL_COMM_NAME_BYTES, "%s", from);
    return HCCL_SUCCESS;
}

static HcclResult apply_config(const char *caller, struct hc_comm *comm, const HcclCommConfig *config) {
    size_t filled;
    uint32_t magic;
    memcpy(&filled, config->reserved, sizeof filled);
    memcpy(&magic, config->reserved + sizeof filled, sizeof magic);
    HC_CHECK(magic == HCCL_COMM_CONFIG_MAGIC_WORD, HCCL_E_PARA,
             "%s: config was not initialised: its magic word is 0x%x, wanted 0x%x", caller, magic,
             HCCL_COMM_CONFIG_MAGIC_WORD);
    HC_CHECK(filled >= offsetof(HcclCommConfig, hcclCommName), HCCL_E_PARA,
             "%s: config says it has %zu bytes, wanted at least %zu", caller, filled,
             offsetof(HcclCommConfig, hcclCommName));
    if (config->hcclBufferSize != HCCL_COMM_CONFIG_NOT_SET) comm->buffer_megabytes = config->hcclBufferSize;
    if (config->hcclDeterministic != HCCL_COMM_CONFIG_NOT_SET)
        comm->deterministic = config->hcclDeterministic;
    if (HAS(hcclExecTimeOut) && config->hcclExecTimeOut > 0)
        comm->exec_timeout_s = (uint32_t)config->hcclExecTimeOut;
    if (HAS(hcclCommName)) HC_TRY(take_text(caller, "hcclCommName", comm->name, config->hcclCommName));
    if (HAS(hcclUdi)) HC_TRY(take_text(caller, "hcclUdi", comm->label, config->hcclUdi));
    return HCCL_SUCCESS;
}

HcclResult hc_comm_configure(const char *caller, struct hc_comm *comm, const HcclCommConfig *config) {
    comm->deterministic = deterministic();
    comm->buffer_megabytes = (uint32_t)hc_option_int(HC_OPT_HCCL_BUFFSIZE);
    comm->exec_timeout_s = (uint32_t)hc_option_int(HC_OPT_HCCL_EXEC_TIMEOUT);
    return config != NULL ? apply_config(caller, comm, config) : HCCL_SUCCESS;
}

/* Callers ask whether an item is below this number. */
uint32_t HcclGetCommConfigCapability(void) { return HCCL_COMM_CONFIG_RESERVED; }

static HcclResult check_config(const char *caller, HcclConfig config) {
    HC_CHECK((unsigned)config < HCCL_CONFIG_RESERVED, HCCL_E_PARA, "%s: option %d, wanted 0 to %d", caller,
             (int)config, HCCL_CONFIG_RESERVED - 1);
    return HCCL_SUCCESS;
}

HcclResult HcclSetConfig(HcclConfig config, HcclConfigValue configValue) {
    HC_TRY(check_config("HcclSetConfig", config));
    atomic_store(&g_config[config], configValue.value);
    return HCCL_SUCCESS;
}

HcclResult HcclGetConfig(HcclConfig config, HcclConfigValue *configValue) {
    HC_TRY(check_config("HcclGetConfig", config));
    HC_CHECK(configValue != NULL, HCCL_E_PTR, "HcclGetConfig: configValue is null");
    configValue->value = atomic_load(&g_config[config]);
    return HCCL_SUCCESS;
}

/* Only HCCL_DETERMINISTIC exists per communicator. */
static HcclResult find_option(const char *caller, HcclComm comm, HcclConfig config, struct hc_comm **found) {
    HC_TRY(check_config(caller, config));
    HC_CHECK(config == HCCL_DETERMINISTIC, HCCL_E_NOT_SUPPORT,
             "%s: option %d is of the process, wanted %d (HCCL_DETERMINISTIC)", caller, (int)config,
             HCCL_DETERMINISTIC);
    return hc_comm_find(caller, comm, found);
}

HcclResult HcclSetCommConfig(HcclComm comm, HcclConfig config, HcclConfigValue configValue) {
    struct hc_comm *c;
    HC_TRY(find_option("HcclSetCommConfig", comm, config, &c));
    hc_comm_lock();
    c->deterministic = (uint32_t)configValue.value;
    hc_comm_unlock();
    return HCCL_SUCCESS;
}

HcclResult HcclGetCommConfig(HcclComm comm, HcclConfig config, HcclConfigValue *configValue) {
    struct hc_comm *c;
    HC_TRY(find_option("HcclGetCommConfig", comm, config, &c));
    HC_CHECK(configValue != NULL, HCCL_E_PTR, "HcclGetCommConfig: configValue is null");
    hc_comm_lock();
    configValue->value = (int32_t)c->deterministic;
    hc_comm_unlock();
    return HCCL_SUCCESS;
}
