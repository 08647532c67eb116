/* lanes_avx2.h - vectors of 8 floats for cross_entropy_body.h and softmax_body.h; lanes_generic.h says what each function
 * is for. */
#ifndef LF_LOSS_LANES_H
#define LF_LOSS_LANES_H

#include <immintrin.h>
#include <math.h>

#include "loss/float.h"

#define LF_INLINE static inline __attribute__((always_inline))

enum { LANES = 8 };
typedef __m256 vf;

LF_INLINE vf v_all(float x) { return _mm256_set1_ps(x); }
LF_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
LF_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
LF_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
LF_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
LF_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
LF_INLINE vf v_if_below(vf a, vf b, vf yes, vf no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
LF_INLINE int v_below(vf a, float limit) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, v_all(limit), _CMP_LT_OQ)) == 0xff;
}
LF_INLINE float v_sum(vf a) {
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
LF_INLINE float v_top(vf a) {
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

/* Cody and Waite, as in lanes_generic.h, with fused multiplications. */
LF_INLINE vf v_exp(vf d) {
    const vf magic = v_all(0x1.8p23f);
    vf t = v_fma(d, v_all(1.44269504f), magic), n = _mm256_sub_ps(t, magic);
    vf r = v_fma(n, v_all(2.12194440e-4f), v_fma(n, v_all(-0.693359375f), d));
    vf p = v_fma(r, v_all(1.38888889e-3f), v_all(8.33333333e-3f));
    p = v_fma(p, r, v_all(4.16666667e-2f));
    p = v_fma(p, r, v_all(1.66666667e-1f));
    p = v_fma(p, r, v_all(0.5f));
    p = v_fma(v_mul(p, r), r, r);
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    vf scale = _mm256_castsi256_ps(_mm256_add_epi32(power, _mm256_set1_epi32(0x3f800000)));
    return _mm256_and_ps(v_fma(p, scale, scale), _mm256_cmp_ps(d, v_all(-87.0f), _CMP_NLT_UQ));
}

enum { SHIFTS = 0 };
static const double FAR = 0.0;
typedef struct {
    char none;
} v_origin;
LF_INLINE double v_origin_near(double ref) { return ref; }
LF_INLINE v_origin v_origin_at(double ref) { return (v_origin){ref != 0.0}; }
LF_INLINE vf v_exp_from(vf d, v_origin zero) { return (void)zero, v_exp(_mm256_min_ps(v_all(80.0f), d)); }
LF_INLINE vf v_add_exp(vf sum, vf d, v_origin zero) { return v_add(sum, v_exp_from(d, zero)); }
LF_INLINE vf v_no_abyss(vf z) { return z; }

LF_INLINE __m256i v_first(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < LANES ? (int)n : LANES), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LF_INLINE vf v_of_half(lf_float type, __m128i h) {
    return type == LF_F16 ? _mm256_cvtph_ps(h) : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

LF_INLINE vf v_load(lf_float type, const void *p, size_t i) {
    if (type == LF_F32) return _mm256_loadu_ps((const float *)p + i);
    return v_of_half(type, _mm_loadu_si128((const __m128i *)((const uint16_t *)p + i)));
}

/* As in lanes_avx512.h: of bfloat16 the elements at even places, then those at odd ones. */
LF_INLINE void v_load4(lf_float type, const void *p, size_t i, vf out[4]) {
    for (size_t k = 0; k < 4; k += type == LF_BF16 ? 2 : 1) {
        if (type != LF_BF16) {
            out[k] = v_load(type, p, i + k * LANES);
            continue;
        }
        __m256i pairs = _mm256_loadu_si256((const __m256i *)((const uint16_t *)p + i + k * LANES));
        out[k] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
        out[k + 1] = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)));
    }
}

LF_INLINE vf v_load_part(lf_float type, const void *p, size_t i, size_t n, float fill) {
    __m256i first = v_first(n);
    vf x;
    if (type == LF_F32) {
        x = _mm256_maskload_ps((const float *)p + i, first);
    } else {
        uint16_t halves[LANES] = {0};
        memcpy(halves, (const uint16_t *)p + i, (n < LANES ? n : LANES) * sizeof *halves);
        x = v_of_half(type, _mm_loadu_si128((const __m128i *)halves));
    }
    return _mm256_blendv_ps(v_all(fill), x, _mm256_castsi256_ps(first));
}

/* The bits of a bfloat16 in the upper half of each lane, rounded to nearest, ties to even. */
LF_INLINE __m256i v_round_bf16(vf x) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}

LF_INLINE __m128i v_half(lf_float type, vf x) {
    if (type == LF_F16) return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256i bits = _mm256_srli_epi32(v_round_bf16(x), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
}

LF_INLINE void v_store_part(lf_float type, void *p, size_t i, vf x, size_t n) {
    if (type == LF_F32) {
        _mm256_maskstore_ps((float *)p + i, v_first(n), x);
        return;
    }
    uint16_t halves[LANES];
    _mm_storeu_si128((__m128i *)halves, v_half(type, x));
    memcpy((uint16_t *)p + i, halves, (n < LANES ? n : LANES) * sizeof *halves);
}

LF_INLINE void v_store4(lf_float type, void *p, size_t i, const vf x[4]) {
    for (size_t k = 0; k < 4; k += type == LF_F32 ? 1 : 2) {
        __m256i line;
        if (type == LF_F32) {
            line = _mm256_castps_si256(x[k]);
        } else if (type == LF_BF16) {
            __m256i even = _mm256_srli_epi32(v_round_bf16(x[k]), 16);
            line = _mm256_blend_epi16(even, v_round_bf16(x[k + 1]), 0xaa);
        } else {
            line = _mm256_set_m128i(v_half(type, x[k + 1]), v_half(type, x[k]));
        }
        _mm256_storeu_si256((__m256i *)((char *)p + (i + k * LANES) * lf_float_size(type)), line);
    }
}

typedef struct {
    vf each[2];
} v_tops;

LF_INLINE v_tops v_no_tops(lf_float type) {
    (void)type;
    return (v_tops){{v_all(-INFINITY), v_all(-INFINITY)}};
}

LF_INLINE void v_raise(lf_float type, v_tops *tops, const void *p, size_t i) {
    vf next[4];
    v_load4(type, p, i, next);
    for (size_t k = 0; k < 4; k++) tops->each[k & 1] = v_max(next[k], tops->each[k & 1]);
}

LF_INLINE float v_highest(lf_float type, const v_tops *tops) {
    (void)type;
    return v_top(v_max(tops->each[0], tops->each[1]));
}

LF_INLINE void v_stream_line(void *to, const void *from) {
    __m256i *out = to;
    const __m256i *in = from;
    _mm256_stream_si256(out, _mm256_loadu_si256(in));
    _mm256_stream_si256(out + 1, _mm256_loadu_si256(in + 1));
}
LF_INLINE void v_fence(void) { _mm_sfence(); }

#endif
