// SPDX-License-Identifier: Apache-2.0
/* Functions of one argument over lists, with the kernels of the operators on one tensor (math/): the
 * tables below only tie names to them, so a list gives the same bits as its members one by one. */
#include "foreach.h"

/* X(operator, kernel). Float types only: PyTorch makes integer tensors float before, and does not bring
 * complex. */
#define FOR_FLOAT_FUNCTIONS(X)                                                                               \
    X(Acos, acos)                                                                                            \
    X(Asin, asin)                                                                                            \
    X(Atan, atan)                                                                                            \
    X(Cos, cos)                                                                                              \
    X(Cosh, cosh)                                                                                            \
    X(Erf, erf)                                                                                              \
    X(Erfc, erfc)                                                                                            \
    X(Exp, exp)                                                                                              \
    X(Expm1, expm1)                                                                                          \
    X(Log, log)                                                                                              \
    X(Log10, log10)                                                                                          \
    X(Log1p, log1p)                                                                                          \
    X(Log2, log2)                                                                                            \
    X(Reciprocal, reciprocal)                                                                                \
    X(Sigmoid, sigmoid) X(Sin, sin) X(Sinh, sinh) X(Sqrt, sqrt) X(Tan, tan) X(Tanh, tanh)
/* Integers too. */
#define FOR_REAL_FUNCTIONS(X) X(Abs, abs) X(Neg, neg) X(Sign, sign)

/* Kernels are declared here and defined in math/. */
#define DEFINE_FLOAT(name, kernel)                                                                           \
    HC_EW_KERNELS_FLOAT(kernel)                                                                              \
    HC_FOREACH_SPEC2(SPEC_##name, "aclnnForeach" #name, kernel)                                              \
    HC_FOREACH_UNARY(aclnnForeach##name, SPEC_##name)
#define DEFINE_REAL(name, kernel)                                                                            \
    HC_EW_KERNELS_REAL(kernel)                                                                               \
    HC_FOREACH_SPEC3(SPEC_##name, "aclnnForeach" #name, kernel)                                              \
    HC_FOREACH_UNARY(aclnnForeach##name, SPEC_##name)
FOR_FLOAT_FUNCTIONS(DEFINE_FLOAT)
FOR_REAL_FUNCTIONS(DEFINE_REAL)
