/* lanes_generic.h - what cross_entropy_body.h and softmax_body.h need of a vector of floats, in portable C: vectors of
 * four, which every 64-bit processor has. lanes_avx2.h and lanes_avx512.h say the same with wider ones.
 *
 * Exactness: v_exp is within 2 ulp of exp(d) for -87 <= d <= 80, 0 or nearly so below -87, NaN of a NaN. */
#ifndef LF_LOSS_LANES_H
#define LF_LOSS_LANES_H

#include <math.h>

#include "loss/float.h"

#define LF_INLINE static inline __attribute__((always_inline))

enum { LANES = 4 };
typedef float vf __attribute__((vector_size(16)));
typedef int32_t v_int __attribute__((vector_size(16)));

LF_INLINE vf v_all(float x) { return (vf){x, x, x, x}; }
LF_INLINE vf v_add(vf a, vf b) { return a + b; }
LF_INLINE vf v_mul(vf a, vf b) { return a * b; }
LF_INLINE vf v_div(vf a, vf b) { return a / b; }

/* a * b + c, rounded once where the machine can. */
LF_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }

/* Lane by lane yes where a < b, else no. */
LF_INLINE vf v_if_below(vf a, vf b, vf yes, vf no) {
    v_int below = a < b;
    return (vf)(((v_int)yes & below) | ((v_int)no & ~below));
}

/* The greater, and b where a is no number. */
LF_INLINE vf v_max(vf a, vf b) { return v_if_below(b, a, a, b); }

/* Whether all lanes are. */
LF_INLINE int v_below(vf a, float limit) { return a[0] < limit && a[1] < limit && a[2] < limit && a[3] < limit; }

/* All lanes in one. */
LF_INLINE float v_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
LF_INLINE float v_top(vf a) {
    float low = a[0] > a[1] ? a[0] : a[1], high = a[2] > a[3] ? a[2] : a[3];
    return low > high ? low : high;
}

/* Cody and Waite: d = n * ln 2 + r, exp(r) by its Taylor polynomial to the sixth power. n is rounded by adding
 * 1.5 * 2^23, after which it stands in the low bits. */
LF_INLINE vf v_exp(vf d) {
    vf t = d * 1.44269504f + 0x1.8p23f, n = t - 0x1.8p23f;
    vf r = d - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vf p = r * 1.38888889e-3f + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    vf scale = (vf)(((v_int)t << 23) + 0x3f800000);
    return v_if_below(d, v_all(-87.0f), v_all(0.0f), p * scale);
}

/* exp(z - ref), and the same added to a sum, where SHIFTS says that a machine leaves out that subtraction: for the reference
 * that v_origin_near makes of another, up to FAR. Where it does not, z - ref is given for z, and 0 for ref. Far above ref the
 * result is some number beyond e^79, or infinity. Of -inf it may be NaN: v_no_abyss makes a number of it of which it is 0. */
enum { SHIFTS = 0 };
static const double FAR = 0.0;
typedef struct {
    char none;
} v_origin;
LF_INLINE double v_origin_near(double ref) { return ref; }
LF_INLINE v_origin v_origin_at(double ref) { return (v_origin){ref != 0.0}; }
LF_INLINE vf v_exp_from(vf d, v_origin zero) { return (void)zero, v_exp(v_if_below(v_all(80.0f), d, v_all(80.0f), d)); }
LF_INLINE vf v_add_exp(vf sum, vf d, v_origin zero) { return v_add(sum, v_exp_from(d, zero)); }
LF_INLINE vf v_no_abyss(vf z) { return z; }

/* LANES elements from the i-th on; or n of them, the other lanes being `fill`. */
LF_INLINE vf v_load(lf_float type, const void *p, size_t i) {
    vf v;
    if (type == LF_F32) memcpy(&v, (const float *)p + i, sizeof v);
    else
        for (size_t k = 0; k < LANES; k++) v[k] = (float)lf_float_get(type, p, i + k);
    return v;
}

/* Four vectors. Their lanes may have the elements in another order than memory has them: the same for loading and
 * storing, and for float32 that of memory. */
LF_INLINE void v_load4(lf_float type, const void *p, size_t i, vf out[4]) {
    for (size_t k = 0; k < 4; k++) out[k] = v_load(type, p, i + k * LANES);
}

LF_INLINE vf v_load_part(lf_float type, const void *p, size_t i, size_t n, float fill) {
    vf v = v_all(fill);
    for (size_t k = 0; k < LANES && k < n; k++) v[k] = (float)lf_float_get(type, p, i + k);
    return v;
}

/* The first n lanes to the i-th element and those that follow. */
LF_INLINE void v_store_part(lf_float type, void *p, size_t i, vf x, size_t n) {
    for (size_t k = 0; k < LANES && k < n; k++) lf_float_put(type, p, i + k, (double)x[k]);
}

LF_INLINE void v_store4(lf_float type, void *p, size_t i, const vf x[4]) {
    if (type == LF_F32) memcpy((float *)p + i, x, 4 * sizeof *x);
    else
        for (size_t k = 0; k < 4; k++) v_store_part(type, p, i + k * LANES, x[k], LANES);
}

/* The largest elements so far. v_raise takes four vectors more into account, v_highest is the largest of all. */
typedef struct {
    vf each;
} v_tops;

LF_INLINE v_tops v_no_tops(lf_float type) {
    (void)type;
    return (v_tops){v_all(-INFINITY)};
}

LF_INLINE void v_raise(lf_float type, v_tops *tops, const void *p, size_t i) {
    for (size_t k = 0; k < 4; k++) tops->each = v_max(v_load(type, p, i + k * LANES), tops->each);
}

LF_INLINE float v_highest(lf_float type, const v_tops *tops) {
    (void)type;
    return v_top(tops->each);
}

/* A line of 64 bytes, to an aligned address and past the caches where the machine can. */
LF_INLINE void v_stream_line(void *to, const void *from) { memcpy(to, from, 64); }
LF_INLINE void v_fence(void) {}

#endif
