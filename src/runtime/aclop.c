// SPDX-License-Identifier: Apache-2.0
/* Operators by name, compiled by the vendor's graph engine. There is none here: clients use it for what they
 * have no aclnn operator for, so the error names the operator type that is missing. */
#include <stdio.h>
#include <stdlib.h>

#include "hc_desc.h"
#include "hc_error.h"
#include "hc_launch.h"

struct refusal {
    char text[384];
};

/* One text for both versions of the interface. The first input's type is named because a missing operator
 * is often only a missing type of one that exists. */
static struct refusal describe(const char *function, const char *type, int inputs,
                               const aclTensorDesc *const desc[]) {
    const aclDataType dtype = inputs > 0 && desc != NULL ? aclGetTensorDescType(desc[0]) : ACL_DT_UNDEFINED;
    struct refusal r;
    snprintf(
        r.text, sizeof r.text,
        "%s: operator type %s (%d inputs, the first of element type %d) is not available on virtual "
        "NPUs: only operators of the aclnn interface are. With jit_compile on, torch_npu asks for few of "
        "those: torch.npu.set_compile_mode(jit_compile=False)",
        function, type, inputs, (int)dtype);
    return r;
}

static aclError run_refusal(void *arg) {
    const struct refusal *r = arg;
    return hc_fail(ACL_ERROR_OP_NOT_FOUND, "%s", r->text);
}

/* Fails like any operator whose work fails: at the next synchronise. torch_npu calls this in a queue of its
 * own, and a code from here would end the queue; later operators of the process would then silently not run.
 */
aclError aclopCompileAndExecute(const char *opType, int numInputs, const aclTensorDesc *const inputDesc[],
                                const aclDataBuffer *const inputs[], int numOutputs,
                                const aclTensorDesc *const outputDesc[], aclDataBuffer *const outputs[],
                                const aclopAttr *attr, aclopEngineType engineType,
                                aclopCompileType compileFlag, const char *opPath, aclrtStream stream) {
    static const char FUNCTION[] = "aclopCompileAndExecute";
    (void)inputs, (void)numOutputs, (void)outputDesc, (void)outputs, (void)attr, (void)engineType,
        (void)compileFlag, (void)opPath;
    HC_CHECK(opType != NULL, ACL_ERROR_INVALID_PARAM, "%s: opType is null", FUNCTION);
    struct refusal *r = malloc(sizeof *r);
    HC_CHECK(r != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "%s: out of host memory", FUNCTION);
    *r = describe(FUNCTION, opType, numInputs, inputDesc);
    return hc_launch(
        stream,
        &(struct hc_task){
            .name = FUNCTION, .kind = HC_TASK_OPERATOR, .arg = r, .run = run_refusal, .release = free});
}

/* Gives the shapes of its outputs on return, so it fails on return. */
aclError aclopCompileAndExecuteV2(const char *opType, int numInputs, aclTensorDesc *inputDesc[],
                                  aclDataBuffer *inputs[], int numOutputs, aclTensorDesc *outputDesc[],
                                  aclDataBuffer *outputs[], aclopAttr *attr, aclopEngineType engineType,
                                  aclopCompileType compileFlag, const char *opPath, aclrtStream stream) {
    static const char FUNCTION[] = "aclopCompileAndExecuteV2";
    (void)inputs, (void)numOutputs, (void)outputDesc, (void)outputs, (void)attr, (void)engineType,
        (void)compileFlag, (void)opPath, (void)stream;
    HC_CHECK(opType != NULL, ACL_ERROR_INVALID_PARAM, "%s: opType is null", FUNCTION);
    struct refusal r = describe(FUNCTION, opType, numInputs, (const aclTensorDesc *const *)inputDesc);
    return run_refusal(&r);
}
