// SPDX-License-Identifier: Apache-2.0
/* Operators by name, compiled by the vendor's graph engine. There is none here: clients use it for what they
 * have no aclnn operator for, so the error names the operator type that is missing. */
#include "hc_desc.h"
#include "hc_error.h"

/* One text for both versions of the interface. The first input's type is named because a missing operator
 * is often only a missing type of one that exists. */
static aclError refuse(const char *function, const char *type, int inputs,
                       const aclTensorDesc *const desc[]) {
    HC_CHECK(type != NULL, ACL_ERROR_INVALID_PARAM, "%s: opType is null", function);
    const aclDataType dtype = inputs > 0 && desc != NULL ? aclGetTensorDescType(desc[0]) : ACL_DT_UNDEFINED;
    return hc_fail(ACL_ERROR_OP_NOT_FOUND,
                   "%s: operator type %s (%d inputs, the first of element type %d) is not available on "
                   "virtual NPUs: only "
                   "operators of the aclnn interface are",
                   function, type, inputs, (int)dtype);
}

aclError aclopCompileAndExecute(const char *opType, int numInputs, const aclTensorDesc *const inputDesc[],
                                const aclDataBuffer *const inputs[], int numOutputs,
                                const aclTensorDesc *const outputDesc[], aclDataBuffer *const outputs[],
                                const aclopAttr *attr, aclopEngineType engineType,
                                aclopCompileType compileFlag, const char *opPath, aclrtStream stream) {
    (void)inputs, (void)numOutputs, (void)outputDesc, (void)outputs, (void)attr, (void)engineType,
        (void)compileFlag;
    (void)opPath, (void)stream;
    return refuse("aclopCompileAndExecute", opType, numInputs, inputDesc);
}

aclError aclopCompileAndExecuteV2(const char *opType, int numInputs, aclTensorDesc *inputDesc[],
                                  aclDataBuffer *inputs[], int numOutputs, aclTensorDesc *outputDesc[],
                                  aclDataBuffer *outputs[], aclopAttr *attr, aclopEngineType engineType,
                                  aclopCompileType compileFlag, const char *opPath, aclrtStream stream) {
    (void)inputs, (void)numOutputs, (void)outputDesc, (void)outputs, (void)attr, (void)engineType,
        (void)compileFlag;
    (void)opPath, (void)stream;
    return refuse("aclopCompileAndExecuteV2", opType, numInputs, (const aclTensorDesc *const *)inputDesc);
}
