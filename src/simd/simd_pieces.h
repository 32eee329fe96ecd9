// SPDX-License-Identifier: Apache-2.0
/* Functions of |x| by 32 polynomials, four pieces to an octave from 2^-4 to 12, for vectors that can look
 * their coefficients up in two registers: no exponential and no division. Made by tools/gen_pieces.py, which
 * has the functions and the way they are fitted.
 *
 * A piece is a polynomial of |x| - row 0; rows 1 and on are its coefficients. Row 0 was chosen where the
 * function's value, row 1, is a float to about 30 bits, so a result is off by little more than its own
 * rounding. */
#pragma once
#include "simd.h"

#if defined(HC_ISA_avx512)
static inline __attribute__((always_inline)) vf vf_piece_row(const float row[32], __m512i piece) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(row), piece, _mm512_loadu_ps(row + 16));
}
/* The piece of t >= 0 is in the low five bits of its exponent and two bits of mantissa: rows are rotated
 * accordingly. `low` is what the first piece, whose row 1 is zero, has lost of its slope: no float is near
 * enough to it. */
static inline __attribute__((always_inline)) vf vf_pieces(vf t, const float (*rows)[32], int degree,
                                                          float low) {
    t = _mm512_min_ps(vf_set(12.0f), t); /* NaN stays NaN */
    const __m512i piece = _mm512_srli_epi32((__m512i)_mm512_max_ps(t, vf_set(0x1.cp-5f)), 21);
    const vf u = t - vf_piece_row(rows[0], piece);
    vf sum = vf_piece_row(rows[degree + 1], piece), value = vf_piece_row(rows[1], piece);
#pragma GCC unroll 8
    for (int k = degree; k >= 2; k--) sum = vf_fma(sum, u, vf_piece_row(rows[k], piece));
    if (low != 0.0f) {
        const __mmask16 first = _mm512_cmp_ps_mask(t, vf_set(0x1p-4f), _CMP_LT_OQ);
        value = _mm512_mask_mul_ps(value, first, t, vf_set(low));
    }
    return vf_fma(sum, u, value);
}

/* tanh, within 2^-26 of itself. */
static const float VF_TANH[7][32] = {
    {0x1.1ac78p1f,  0x1.610d8p1f,  0x1.95f88p1f,  0x1.da15p1f,   0x1.1ecep2f,  0x1.589cp2f,   0x1.a673p2f,
     0x1.d6118p2f,  0x1.18f8p3f,   0x1.4p3f,      0x1.8p3f,      0x0p0f,       0x1.1abe8p-4f, 0x1.5f0ep-4f,
     0x1.9ea1p-4f,  0x1.e10ep-4f,  0x1.23918p-3f, 0x1.5d7c8p-3f, 0x1.9efcp-3f, 0x1.dfbc8p-3f, 0x1.24ba8p-2f,
     0x1.5e6e8p-2f, 0x1.a51a8p-2f, 0x1.ea938p-2f, 0x1.212d8p-1f, 0x1.5da3p-1f, 0x1.a78a8p-1f, 0x1.e8868p-1f,
     0x1.190ap0f,   0x1.59728p0f,  0x1.98f1p0f,   0x1.dfe98p0f},
    {0x1.f3cdf6p-1f, 0x1.fbe66p-1f,  0x1.fe33d4p-1f, 0x1.ff611p-1f,  0x1.ffde6cp-1f, 0x1.fffa7cp-1f,
     0x1.ffff84p-1f, 0x1.ffffe4p-1f, 0x1.fffffep-1f, 0x1p0f,         0x1p0f,         0x0p0f,
     0x1.1a4bcp-4f,  0x1.5e3298p-4f, 0x1.9d37ecp-4f, 0x1.dedae4p-4f, 0x1.219d44p-3f, 0x1.5a220ap-3f,
     0x1.996586p-3f, 0x1.d7267p-3f,  0x1.1d01c2p-2f, 0x1.515d08p-2f, 0x1.8ede4cp-2f, 0x1.c8328p-2f,
     0x1.05e74ep-1f, 0x1.2fd0fap-1f, 0x1.5ba3eep-1f, 0x1.7bba6ap-1f, 0x1.9973aap-1f, 0x1.bf7172p-1f,
     0x1.d7b21p-1f,  0x1.e87494p-1f},
    {0x1.819b38p-5f,  0x1.055b1cp-6f,  0x1.cb5c82p-8f,  0x1.3dae36p-9f, 0x1.0c960ep-11f, 0x1.60edp-14f,
     0x1.f025b6p-18f, 0x1.bfeb62p-20f, 0x1.960bd8p-24f, 0x0p0f,         0x0p0f,          0x1p0f,
     0x1.fd916ap-1f,  0x1.fc41e4p-1f,  0x1.faca06p-1f,  0x1.f90094p-1f, 0x1.f5c2dcp-1f,  0x1.f16p-1f,
     0x1.eb8a54p-1f,  0x1.e4e70cp-1f,  0x1.d85662p-1f,  0x1.c86d3ep-1f, 0x1.b25102p-1f,  0x1.9a6182p-1f,
     0x1.7a0746p-1f,  0x1.4bb7d2p-1f,  0x1.13f518p-1f,  0x1.ccbe82p-2f, 0x1.711d3cp-2f,  0x1.e3e54ap-3f,
     0x1.35be9ep-3f,  0x1.700d5ap-4f},
    {-0x1.786a9cp-5f,  -0x1.033f7ep-6f,  -0x1.c9c1eap-8f, -0x1.3d48fp-9f,  -0x1.0c33dap-11f, -0x1.60d734p-14f,
     -0x1.efd07ep-18f, -0x1.bffc94p-20f, 0x1.5743f6p-25f, 0x0p0f,          0x0p0f,           0x1.52c398p-27f,
     -0x1.18f44ap-4f,  -0x1.5ba2a8p-4f,  -0x1.9901d2p-4f, -0x1.d850b2p-4f, -0x1.1bd24ap-3f,  -0x1.503efap-3f,
     -0x1.890992p-3f,  -0x1.be36fep-3f,  -0x1.06edc2p-2f, -0x1.2cbed2p-2f, -0x1.52597ep-2f,  -0x1.6da75p-2f,
     -0x1.82befap-2f,  -0x1.89ad6p-2f,   -0x1.76bde4p-2f, -0x1.55b6bcp-2f, -0x1.272f6ap-2f,  -0x1.a6e22ap-3f,
     -0x1.1d5c98p-3f,  -0x1.5f2096p-4f},
    {0x1.de003cp-6f,  0x1.5411aep-7f,  0x1.2f5532p-8f,  0x1.a66446p-10f, 0x1.660374p-12f, 0x1.da05eap-15f,
     0x1.46f78p-18f,  0x1.2ceca4p-20f, 0x1.962b96p-26f, 0x0p0f,          0x0p0f,          -0x1.5555b4p-2f,
     -0x1.4ecd3p-2f,  -0x1.4cee6ep-2f, -0x1.497abep-2f, -0x1.436f0ap-2f, -0x1.3a448p-2f,  -0x1.2f4532p-2f,
     -0x1.209e14p-2f, -0x1.0fc9a8p-2f, -0x1.e34b14p-3f, -0x1.9a6dfcp-3f, -0x1.3b9ef2p-3f, -0x1.bad5acp-4f,
     -0x1.b1bd3ap-5f, 0x1.8f7b4ep-7f,  0x1.19e3e4p-4f,  0x1.8f7238p-4f,  0x1.c3f2e8p-4f,  0x1.a0710ap-4f,
     0x1.3f432p-4f,   0x1.a898ep-5f},
    {-0x1.b07bd4p-7f,  -0x1.4c2efcp-8f,  -0x1.2b245cp-9f,  -0x1.a73cbap-11f, -0x1.760876p-13f,
     -0x1.e26db4p-16f, -0x1.5328d4p-19f, -0x1.2def1ap-21f, -0x1.df7faap-23f, 0x0p0f,
     0x0p0f,           0x1.f5508ep-15f,  0x1.577deep-5f,   0x1.4e9ba8p-5f,   0x1.04766cp-5f,
     0x1.95887ap-4f,   0x1.632954p-4f,   0x1.ae0b0ap-4f,   0x1.f0322p-4f,    0x1.12e78ap-3f,
     0x1.36541ep-3f,   0x1.4f6d26p-3f,   0x1.5bd23ap-3f,   0x1.55cff2p-3f,   0x1.390ec8p-3f,
     0x1.ef4b6p-4f,    0x1.3421ep-4f,    0x1.3e8bbap-5f,   0x1.07eec4p-7f,   -0x1.45b92p-6f,
     -0x1.9ee87ep-6f,  -0x1.55c10ep-6f},
    {0x1.04a254p-8f,  0x1.f66afp-10f,  0x1.958e8ep-11f, 0x1.332e0cp-12f, 0x1.1fb202p-14f, 0x1.390744p-17f,
     0x1.5315e6p-20f, 0x1.73df9ap-23f, 0x1.fcc4e4p-24f, 0x0p0f,          0x0p0f,          0x1.0f563ep-3f,
     -0x1.797d26p-2f, 0x1.3ac042p4f,   0x1.91eaf2p4f,   0x1.caa7b4p2f,   -0x1.9ddb3cp-2f, 0x1.8684d8p-2f,
     0x1.69523cp-1f,  -0x1.9be6a2p-2f, 0x1.8de9b2p-6f,  0x1.5a3056p-5f,  0x1.2aa8fep-5f,  -0x1.d85ba4p-7f,
     -0x1.37b80cp-5f, -0x1.0f2152p-4f, -0x1.01567ap-4f, -0x1.ba7846p-5f, -0x1.076e8p-5f,  -0x1.393d08p-7f,
     0x1.78082p-10f,  0x1.2c9f84p-8f},
};
/* erf, within 2^-25 of itself, and 2 / sqrt(pi) less the float that its first piece has. */
#define VF_ERF_LOW (-0x1.f7ac4p-25f)
static const float VF_ERF[7][32] = {
    {0x1.1a9fp1f,   0x1.5e428p1f,  0x1.96a18p1f, 0x1.d8788p1f,  0x1p2f,       0x1.4p2f,      0x1.8p2f,
     0x1.cp2f,      0x1p3f,        0x1.4p3f,     0x1.8p3f,      0x0p0f,       0x1.23498p-4f, 0x1.5f298p-4f,
     0x1.a333p-4f,  0x1.ea938p-4f, 0x1.212p-3f,  0x1.67698p-3f, 0x1.975ep-3f, 0x1.d7ccp-3f,  0x1.1f8bp-2f,
     0x1.58ac8p-2f, 0x1.a1ap-2f,   0x1.e0c3p-2f, 0x1.2426p-1f,  0x1.6058p-1f, 0x1.9c928p-1f, 0x1.dc0b8p-1f,
     0x1.2396p0f,   0x1.62af8p0f,  0x1.a6f5p0f,  0x1.dc298p0f},
    {0x1.ff15p-1f,   0x1.fff1bap-1f, 0x1.ffff14p-1f, 0x1.fffffap-1f, 0x1p0f,         0x1p0f,
     0x1p0f,         0x1p0f,         0x1p0f,         0x1p0f,         0x1p0f,         0x0p0f,
     0x1.48210ap-4f, 0x1.8b467cp-4f, 0x1.d75e8ep-4f, 0x1.1375dp-3f,  0x1.441692p-3f, 0x1.916d8ap-3f,
     0x1.c5ac78p-3f, 0x1.058c52p-2f, 0x1.3c20aap-2f, 0x1.76b89p-2f,  0x1.be5da8p-2f, 0x1.f9203cp-2f,
     0x1.291dfap-1f, 0x1.56d022p-1f, 0x1.7db748p-1f, 0x1.9f7742p-1f, 0x1.c91a06p-1f, 0x1.e65d7p-1f,
     0x1.f608dcp-1f, 0x1.fba252p-1f},
    {0x1.1a3f18p-7f, 0x1.4b2778p-11f, 0x1.877ffap-15f, 0x1.6da6eep-20f, 0x0p0f,         0x0p0f,
     0x0p0f,         0x0p0f,          0x0p0f,          0x0p0f,          0x0p0f,         0x1.20dd76p0f,
     0x1.1f686ap0f,  0x1.1ebfeap0f,   0x1.1ddafp0f,    0x1.1cc03ep0f,   0x1.1b2a38p0f,  0x1.181aaap0f,
     0x1.15a8c4p0f,  0x1.11ef44p0f,   0x1.0af674p0f,   0x1.01ec6cp0f,   0x1.e933c4p-1f, 0x1.cf714ap-1f,
     0x1.a12e4ap-1f, 0x1.67cad6p-1f,  0x1.2dce5ep-1f,  0x1.e6c2aap-2f,  0x1.3bbd2ap-2f, 0x1.52f022p-3f,
     0x1.2d871cp-4f, 0x1.22a258p-5f},
    {-0x1.3791f6p-6f, -0x1.c466c2p-10f, -0x1.37405cp-13f, -0x1.513546p-18f, 0x0p0f,          0x0p0f,
     0x0p0f,          0x0p0f,           0x0p0f,           0x0p0f,           0x0p0f,          0x1.5204ap-28f,
     -0x1.470608p-4f, -0x1.8956eep-4f,  -0x1.d41662p-4f,  -0x1.10d75ap-3f,  -0x1.3fce3ep-3f, -0x1.894088p-3f,
     -0x1.b9d53ap-3f, -0x1.f8d9acp-3f,  -0x1.2bdb44p-2f,  -0x1.5b437cp-2f,  -0x1.8f0788p-2f, -0x1.b32aaap-2f,
     -0x1.dc16aep-2f, -0x1.ef328ap-2f,  -0x1.e664dp-2f,   -0x1.c493fp-2f,   -0x1.67a164p-2f, -0x1.d59984p-3f,
     -0x1.f22dd2p-4f, -0x1.0e4adcp-4f},
    {0x1.9c4d94p-6f,  0x1.8266c4p-9f,  0x1.3ef9d4p-12f, 0x1.9c5286p-17f, 0x0p0f,          0x0p0f,
     0x0p0f,          0x0p0f,          0x0p0f,          0x0p0f,          0x0p0f,          -0x1.812776p-2f,
     -0x1.7bff66p-2f, -0x1.7baad8p-2f, -0x1.74fb48p-2f, -0x1.708012p-2f, -0x1.6a2a7ap-2f, -0x1.5f173ep-2f,
     -0x1.5528c2p-2f, -0x1.46008p-2f,  -0x1.2bd218p-2f, -0x1.09f1aap-2f, -0x1.b35446p-3f, -0x1.59af8ap-3f,
     -0x1.841398p-4f, -0x1.957c7ap-7f, 0x1.e0b932p-5f,  0x1.d927bap-4f,  0x1.4fb394p-3f,  0x1.40cedap-3f,
     0x1.c055eep-4f,  0x1.1eb478p-4f},
    {-0x1.613dd4p-6f, -0x1.d746aap-9f, -0x1.c7d2c2p-12f, -0x1.6bc8c4p-16f, 0x0p0f,         0x0p0f,
     0x0p0f,          0x0p0f,          0x0p0f,           0x0p0f,           0x0p0f,         0x1.f5202p-16f,
     0x1.232168p-5f,  0x1.de4dd4p-6f,  0x1.dfd7e6p-5f,   0x1.301e86p-3f,   0x1.439f6ep-4f, 0x1.5fe43ep-4f,
     0x1.b5d1e6p-4f,  0x1.df0c38p-4f,  0x1.1c25b4p-3f,   0x1.40cf52p-3f,   0x1.62a5fp-3f,  0x1.72a1bap-3f,
     0x1.745d24p-3f,  0x1.5283c4p-3f,  0x1.13a748p-3f,   0x1.7f93b2p-4f,   0x1.89c0cap-6f, -0x1.03164p-5f,
     -0x1.9730fep-5f, -0x1.606742p-5f},
    {0x1.5a7036p-7f,  0x1.735396p-9f,  0x1.605fd6p-12f, 0x1.57017p-16f,  0x0p0f,          0x0p0f,
     0x0p0f,          0x0p0f,          0x0p0f,          0x0p0f,          0x0p0f,          0x1.cc74ccp-4f,
     0x1.add0eep2f,   0x1.2d20f8p5f,   -0x1.9f961p0f,   0x1.f344a8p1f,   -0x1.ad57a6p-1f, 0x1.0e438ep0f,
     0x1.ecf87p-2f,   -0x1.89e5d2p-1f, 0x1.337f6p-4f,   0x1.55a86ap-5f,  0x1.a92642p-5f,  0x1.463168p-4f,
     -0x1.71fc26p-7f, -0x1.590154p-5f, -0x1.f84612p-5f, -0x1.2542fep-4f, -0x1.f4470ep-5f, -0x1.f636a2p-6f,
     -0x1.33864ap-9f, 0x1.730e9p-7f},
};
/* a Phi(-a), the part of GELU that both signs share: within 2^-28, and 2^-30 of itself below 2. */
static const float VF_GELU_TAIL[8][32] = {
    {0x1.25e38p1f, 0x1.5d09p1f,  0x1.96878p1f,  0x1.d9bbp1f,  0x1.24698p2f,  0x1.68458p2f, 0x1.a8268p2f,
     0x1.eade8p2f, 0x1.22bep3f,  0x1.679p3f,    0x1.8p3f,     0x0p0f,        0x1.256ap-4f, 0x1.63e9p-4f,
     0x1.9667p-4f, 0x1.da33p-4f, 0x1.1fe08p-3f, 0x1.6084p-3f, 0x1.a9928p-3f, 0x1.d5bp-3f,  0x1.26a08p-2f,
     0x1.5a96p-2f, 0x1.a08fp-2f, 0x1.e32ap-2f,  0x1.22a3p-1f, 0x1.614f8p-1f, 0x1.ap-1f,    0x1.dd198p-1f,
     0x1.1cd18p0f, 0x1.67e28p0f, 0x1.9b8e8p0f,  0x1.dd3p0f},
    {0x1.97b17cp-6f, 0x1.1dae9ap-7f, 0x1.36ca4ep-9f, 0x1.a0ac0ep-12f, 0x1.77c1eap-17f, 0x1.b59e86p-25f,
     0x1.f214bp-34f, 0x1.29726p-44f, 0x1.14506p-61f, 0x1.81255ep-93f, 0x0p0f,          0x0p0f,
     0x1.14a876p-5f, 0x1.4b4416p-5f, 0x1.76483p-5f,  0x1.ae7e7cp-5f,  0x1.ff647ap-5f,  0x1.30571p-4f,
     0x1.63846p-4f,  0x1.807d1p-4f,  0x1.c7d2bap-4f, 0x1.fd7dc8p-4f,  0x1.1cfdf2p-3f,  0x1.33cb9cp-3f,
     0x1.4b7c02p-3f, 0x1.5a5ae4p-3f, 0x1.5a883p-3f,  0x1.4f538ap-3f,  0x1.2eec96p-3f,  0x1.cc0784p-4f,
     0x1.634cb8p-4f, 0x1.dbcfc2p-5f},
    {-0x1.c0ee1ep-5f,  -0x1.7c7d42p-6f,  -0x1.e6be8ap-8f, -0x1.7e6ca8p-10f, -0x1.abb4e6p-15f,
     -0x1.32805ep-22f, -0x1.961224p-31f, -0x1.dc4dcp-42f, -0x1.97964ep-54f, 0x1.4fe38ap-77f,
     0x0p0f,           0x1p-1f,          0x1.c59286p-2f,  0x1.b92f4p-2f,    0x1.af332cp-2f,
     0x1.a1d51p-2f,    0x1.8de822p-2f,   0x1.74bf0cp-2f,  0x1.58a43p-2f,    0x1.47de5p-2f,
     0x1.1b4a12p-2f,   0x1.eb838p-3f,    0x1.8a9b1p-3f,   0x1.336eap-3f,    0x1.7a5e34p-4f,
     0x1.cc90acp-6f,   -0x1.95b268p-6f,  -0x1.0ab238p-4f, -0x1.b28368p-4f,  -0x1.07f726p-3f,
     -0x1.f47f7ap-4f,  -0x1.98735ap-4f},
    {0x1.7f1a12p-5f,  0x1.af7144p-6f,  0x1.54ff04p-7f,  0x1.446a66p-9f,  0x1.cf8a0ap-14f, 0x1.a8ad2cp-21f,
     0x1.613112p-29f, 0x1.2f7606p-39f, 0x1.6b6984p-50f, 0x1.b753dep-76f, 0x0p0f,          -0x1.988454p-2f,
     -0x1.966c94p-2f, -0x1.9570dcp-2f, -0x1.948288p-2f, -0x1.9311a4p-2f, -0x1.90812p-2f,  -0x1.8c8bf2p-2f,
     -0x1.8728dp-2f,  -0x1.83731p-2f,  -0x1.77baap-2f,  -0x1.6bada2p-2f, -0x1.58f59p-2f,  -0x1.44cc42p-2f,
     -0x1.23b448p-2f, -0x1.ea9d9p-3f,  -0x1.8978a6p-3f, -0x1.2b7d84p-3f, -0x1.4f5c3ep-4f, -0x1.cddd1cp-10f,
     0x1.065438p-5f,  0x1.a812ap-5f},
    {-0x1.c7d61cp-7f,  -0x1.efc394p-7f,  -0x1.0fb66ap-7f,  -0x1.4bccaap-9f, -0x1.39e2d8p-13f,
     -0x1.752588p-20f, -0x1.7828ecp-28f, -0x1.0d0f7ap-37f, 0x1.8be534p-51f, -0x1.496e0cp-74f,
     0x0p0f,           0x1.d60aep-20f,   0x1.37e3p-6f,     0x1.72b6bep-6f,  0x1.aab254p-6f,
     0x1.e16eb8p-6f,   0x1.2c1d08p-5f,   0x1.6e8844p-5f,   0x1.b6007ep-5f,  0x1.de8828p-5f,
     0x1.26726ap-4f,   0x1.5235cep-4f,   0x1.87170cp-4f,   0x1.b259cap-4f,  0x1.e3faf6p-4f,
     0x1.04f77cp-3f,   0x1.09a292p-3f,   0x1.016b72p-3f,   0x1.c2b944p-4f,  0x1.2070dcp-4f,
     0x1.546e44p-5f,   0x1.779cccp-7f},
    {-0x1.8f74dcp-8f, 0x1.7e867p-9f,  0x1.ed1c4ep-9f,   0x1.ba70f8p-10f, 0x1.260bd4p-13f, 0x1.8aed76p-20f,
     0x1.53840ep-28f, 0x1.8d2a1p-40f, -0x1.6773d4p-48f, -0x1.025eep-73f, 0x0p0f,          0x1.0fffe8p-4f,
     0x1.b15706p-5f,  0x1.4a5c3p-5f,  0x1.08e5cep-4f,   0x1.ab4e32p-4f,  0x1.eb4c7cp-5f,  0x1.d974e2p-5f,
     0x1.cac56ap-5f,  0x1.0e18ep-4f,  0x1.bc1f8p-5f,    0x1.989a82p-5f,  0x1.678608p-5f,  0x1.329d24p-5f,
     0x1.abfc7ap-6f,  0x1.7e5a16p-7f, -0x1.230e3ap-9f,  -0x1.cfa7p-7f,   -0x1.cb6bfap-6f, -0x1.2c85a8p-5f,
     -0x1.153626p-5f, -0x1.8b70bep-6f},
    {0x1.b3ed08p-8f,   0x1.f3f63cp-10f,  -0x1.39433ep-11f, -0x1.76ddf2p-11f, -0x1.bc1f4ep-14f,
     -0x1.abe218p-20f, -0x1.15cc5ep-27f, 0x1.bef0ep-38f,   -0x1.ce3206p-50f, 0x1.c7bfa6p-74f,
     0x0p0f,           0x1.a2dc22p-10f,  -0x1.12ca1ap0f,   0x1.5e9792p2f,    0x1.bf3b0ep1f,
     0x1.2bc73cp4f,    0x1.4a932cp-1f,   0x1.827202p-4f,   0x1.045f72p-4f,   0x1.eff8eap-1f,
     -0x1.c22d66p-13f, -0x1.fc8042p-7f,  -0x1.5b3396p-6f,  -0x1.4b9ba8p-5f,  -0x1.8c8d4ap-6f,
     -0x1.7e17dep-6f,  -0x1.616e7ep-6f,  -0x1.20b45cp-6f,  -0x1.81924p-7f,   -0x1.7d969ap-12f,
     0x1.652412p-8f,   0x1.20a01ap-7f},
    {-0x1.cbae8p-10f,  -0x1.7bc9dep-10f, -0x1.0aba02p-12f, 0x1.3b547ep-13f, 0x1.080e34p-14f, 0x1.4f4a4cp-19f,
     0x1.9206dep-26f,  0x1.1fb2c6p-34f,  0x1.7e94fap-48f,  0x1.2bfee2p-73f, 0x0p0f,          -0x1.4ea884p-6f,
     0x1.3956dap5f,    0x1.be0b9ap8f,    -0x1.c3d43ep7f,   -0x1.3f9088p10f, 0x1.233aep3f,    0x1.664012p3f,
     0x1.f89072p2f,    -0x1.47942p5f,    0x1.b9e2cep-2f,   0x1.c3e52ap-3f,  0x1.48f074p-10f, -0x1.8228a6p-2f,
     -0x1.736f9cp-11f, 0x1.ea0c6ap-8f,   0x1.2804dep-8f,   -0x1.f4c6cp-7f,  0x1.b48014p-8f,  0x1.732c44p-8f,
     0x1.e3ca14p-9f,   0x1.dd0adcp-11f},
};
/* Phi(-a) - a phi(a), the same of its derivative, within 2^-28. */
static const float VF_GELU_SLOPE_TAIL[8][32] = {
    {0x1.21a28p1f,  0x1.61a78p1f,  0x1.9e39p1f,  0x1.e00fp1f,   0x1.2507p2f,   0x1.63dep2f,   0x1.9f3dp2f,
     0x1.e717p2f,   0x1.24c8p3f,   0x1.678a8p3f, 0x1.8p3f,      0x0p0f,        0x1.1ae7p-4f,  0x1.5f19p-4f,
     0x1.9db08p-4f, 0x1.e6018p-4f, 0x1.2603p-3f, 0x1.58808p-3f, 0x1.a36d8p-3f, 0x1.e5f28p-3f, 0x1.22568p-2f,
     0x1.5aeep-2f,  0x1.9e94p-2f,  0x1.e4bp-2f,  0x1.19958p-1f, 0x1.61de8p-1f, 0x1.9f71p-1f,  0x1.e915p-1f,
     0x1.239fp0f,   0x1.663p0f,    0x1.a8198p0f, 0x1.eb928p0f},
    {-0x1.dac386p-5f,  -0x1.5e4f44p-6f,  -0x1.9a70eap-8f,  -0x1.42ed76p-10f, -0x1.9a22cap-15f,
     -0x1.bde722p-22f, -0x1.f66898p-30f, -0x1.bbf5e8p-41f, -0x1.617c8ep-59f, -0x1.1079aep-89f,
     0x0p0f,           0x1p-1f,          0x1.c7a8a6p-2f,   0x1.ba232cp-2f,   0x1.adc2c6p-2f,
     0x1.9f8266p-2f,   0x1.8b8224p-2f,   0x1.77da08p-2f,   0x1.5afd7p-2f,    0x1.41ba4ap-2f,
     0x1.1e70d2p-2f,   0x1.eb068p-3f,    0x1.8d46cep-3f,   0x1.31803p-3f,    0x1.a414acp-4f,
     0x1.c40224p-6f,   -0x1.8ed224p-6f,  -0x1.25e3aep-4f,  -0x1.c363f2p-4f,  -0x1.07e602p-3f,
     -0x1.e67bccp-4f,  -0x1.803edp-4f},
    {0x1.8a1cdap-4f,  0x1.94fec6p-5f,  0x1.26a154p-6f,   0x1.165664p-8f,   0x1.bd0bc2p-13f, 0x1.2bbefep-19f,
     0x1.923c92p-27f, 0x1.9444a2p-38f, -0x1.3cdadap-51f, -0x1.96d01ap-74f, 0x0p0f,          -0x1.988454p-1f,
     -0x1.969254p-1f, -0x1.95860ap-1f, -0x1.945d9cp-1f,  -0x1.92cbb8p-1f,  -0x1.90298cp-1f, -0x1.8d1456p-1f,
     -0x1.87a65p-1f,  -0x1.81ff16p-1f, -0x1.78a5fcp-1f,  -0x1.6b97e6p-1f,  -0x1.598688p-1f, -0x1.44500ep-1f,
     -0x1.2a120ep-1f, -0x1.e9c2e2p-2f, -0x1.8a573cp-2f,  -0x1.198458p-2f,  -0x1.2bec9cp-3f, -0x1.9fc8b8p-8f,
     0x1.346e24p-4f,  0x1.b4490cp-4f},
    {-0x1.4027acp-5f,  -0x1.68ddep-5f,   -0x1.6c3182p-6f,  -0x1.b36e4ap-8f,  -0x1.c7e34p-12f,
     -0x1.85f19cp-18f, -0x1.332e2cp-25f, -0x1.b3f84ep-36f, -0x1.5f415cp-47f, -0x1.0f381ep-72f,
     0x0p0f,           0x1.55387p-18f,   0x1.c1caa8p-5f,   0x1.168d54p-4f,   0x1.47908p-4f,
     0x1.7fb59ep-4f,   0x1.cdfad6p-4f,   0x1.0d1826p-3f,   0x1.4445fp-3f,    0x1.73a7a8p-3f,
     0x1.b41d22p-3f,   0x1.fbbd8ep-3f,   0x1.2444b2p-2f,   0x1.46609cp-2f,   0x1.651154p-2f,
     0x1.879ba4p-2f,   0x1.8e7baep-2f,   0x1.7dbb7ap-2f,   0x1.48a392p-2f,   0x1.b6a1fcp-3f,
     0x1.aedfc8p-4f,   0x1.36a6f8p-6f},
    {-0x1.d9d13p-6f,  0x1.a7858cp-7f,  0x1.d3f47p-7f,   0x1.8d8ce6p-8f,  0x1.21a5fcp-11f, 0x1.3bdc8p-17f,
     0x1.1dc4b8p-24f, 0x1.f10cfep-35f, 0x1.4b7534p-48f, 0x1.8f9eeap-71f, 0x0p0f,          0x1.0ff6dcp-2f,
     0x1.0d3a2cp-2f,  0x1.0a79bap-2f,  0x1.0bacaep-2f,  0x1.08ac14p-2f,  0x1.036bf4p-2f,  0x1.ff27c2p-3f,
     0x1.ed85eap-3f,  0x1.dcd94p-3f,   0x1.c24532p-3f,  0x1.9cfafap-3f,  0x1.693f66p-3f,  0x1.2e1d48p-3f,
     0x1.ce212p-4f,   0x1.7b496ap-5f,  -0x1.1304a2p-7f, -0x1.0c547ep-4f, -0x1.e3e8e6p-4f, -0x1.2c68e2p-3f,
     -0x1.092062p-3f, -0x1.620afep-4f},
    {0x1.2074p-5f,     0x1.fde3aep-8f,   -0x1.d3798p-9f,  -0x1.b8c60ep-9f, -0x1.f795eap-12f, -0x1.64925p-17f,
     -0x1.b04f18p-24f, -0x1.1766aep-35f, 0x1.66528p-45f,  0x1.3e4866p-70f, 0x0p0f,           0x1.84ad44p-7f,
     0x1.491656p-3f,   0x1.9e050cp-2f,   -0x1.a93474p-4f, -0x1.0ad33p-4f,  -0x1.1b674p-4f,   -0x1.cc5d86p-5f,
     -0x1.02bf6ap-4f,  -0x1.a382c2p-5f,  -0x1.3f22bcp-4f, -0x1.73fed6p-4f, -0x1.9c5c5ep-4f,  -0x1.c28666p-4f,
     -0x1.da860cp-4f,  -0x1.e0deaap-4f,  -0x1.bcd5e8p-4f, -0x1.6aa0a4p-4f, -0x1.b69234p-5f,  -0x1.56d882p-9f,
     0x1.0a58a4p-5f,   0x1.72f42ep-5f},
    {-0x1.5986eep-7f, -0x1.15647ep-7f, -0x1.b13226p-10f, 0x1.d940dcp-11f,  0x1.467d74p-12f, 0x1.83b4bap-17f,
     0x1.48f224p-23f, 0x1.058b48p-33f, -0x1.90239ap-49f, -0x1.1433bep-70f, 0x0p0f,          -0x1.db44bp-3f,
     0x1.02b09ep1f,   0x1.3ec9cep4f,   -0x1.529d3p4f,    -0x1.e451cp3f,    0x1.ed48fp0f,    -0x1.842e0ap0f,
     0x1.a1323cp0f,   0x1.fef4cep0f,   0x1.2c6f08p-5f,   -0x1.7b026ep-3f,  -0x1.e090dep-6f, -0x1.77244ep-9f,
     -0x1.811fb4p-8f, 0x1.2ed21ep-7f,  0x1.80045ep-6f,   0x1.20f134p-5f,   0x1.4b9218p-5f,  0x1.1e5c76p-5f,
     0x1.3238ccp-6f,  0x1.4d2ebcp-10f},
    {-0x1.6c88eap-9f,  0x1.51fa62p-9f,   0x1.b42b7p-10f,   0x1.334604p-13f,  -0x1.320716p-13f,
     -0x1.5037a4p-17f, -0x1.0e66bep-23f, -0x1.cac8d2p-32f, -0x1.729962p-45f, -0x1.709c12p-70f,
     0x0p0f,           0x1.dd1d34p-1f,   -0x1.7ebc76p10f,  -0x1.18c4aep12f,  0x1.300daep10f,
     -0x1.20367ap9f,   0x1.c62a62p6f,    0x1.d35e06p5f,    0x1.3c13a8p5f,    0x1.8e9d14p4f,
     0x1.6a258ap-1f,   0x1.5d7b7ap1f,    0x1.f4e496p-5f,   0x1.ac32a4p-2f,   -0x1.56976cp-5f,
     0x1.d19b46p-6f,   0x1.f1fd52p-7f,   0x1.cd9478p-6f,   0x1.e25bcap-10f,  -0x1.ec32c2p-8f,
     -0x1.791afap-7f,  -0x1.5330f2p-7f},
};
#endif
