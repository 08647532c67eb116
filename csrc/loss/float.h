/* float.h - the number formats of logits, one element at a time. bfloat16 is the upper half of a float; half precision is
 * IEEE binary16. Both are rounded to nearest, ties to even; a NaN stays one. */
#ifndef LF_LOSS_FLOAT_H
#define LF_LOSS_FLOAT_H

#include <string.h>

#include "lf.h"

typedef enum { LF_F32 = 0, LF_F64 = 1, LF_BF16 = 2, LF_F16 = 3 } lf_float;

static inline size_t lf_float_size(lf_float type) { return type == LF_F64 ? 8 : type == LF_F32 ? 4 : 2; }

static inline float lf_float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t lf_bits_of_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline uint16_t lf_bf16_of(float x) {
    uint32_t bits = lf_bits_of_float(x);
    if (x != x) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float lf_float_of_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00) return lf_float_of_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13); /* infinity, NaN */
    /* Shifted into place the exponent is 112 too small; the multiplication also makes subnormal numbers right. */
    return lf_float_of_bits(sign | lf_bits_of_float(lf_float_of_bits(rest << 13) * 0x1p112f));
}

static inline uint16_t lf_f16_of(float x) {
    uint32_t bits = lf_bits_of_float(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (rest < 0x38800000) { /* subnormal: the unit of the last place of 0.5 is 2^-24, and the addition rounds */
        uint32_t sum = lf_bits_of_float(lf_float_of_bits(rest) + 0.5f);
        return (uint16_t)(sign | (sum - 0x3f000000));
    }
    rest += 0xfff + (rest >> 13 & 1);
    return (uint16_t)(sign | (rest - 0x38000000) >> 13);
}

static inline double lf_float_get(lf_float type, const void *p, size_t i) {
    switch (type) {
    case LF_F32: return ((const float *)p)[i];
    case LF_F64: return ((const double *)p)[i];
    case LF_BF16: return lf_float_of_bits((uint32_t)((const uint16_t *)p)[i] << 16);
    default: return lf_float_of_f16(((const uint16_t *)p)[i]);
    }
}

static inline void lf_float_put(lf_float type, void *p, size_t i, double x) {
    switch (type) {
    case LF_F32: ((float *)p)[i] = (float)x; break;
    case LF_F64: ((double *)p)[i] = x; break;
    case LF_BF16: ((uint16_t *)p)[i] = lf_bf16_of((float)x); break;
    default: ((uint16_t *)p)[i] = lf_f16_of((float)x);
    }
}

/* Where row `row` of rows that are `stride` elements apart begins. */
static inline const void *lf_row(lf_float type, const void *rows, int64_t stride, size_t row) {
    return (const char *)rows + (int64_t)row * stride * (int64_t)lf_float_size(type);
}

#endif
