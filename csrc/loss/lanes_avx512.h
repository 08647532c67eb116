/* lanes_avx512.h - vectors of 16 floats for cross_entropy_body.h and softmax_body.h; lanes_generic.h says what each
 * function is for. */
#ifndef LF_LOSS_LANES_H
#define LF_LOSS_LANES_H

#include <immintrin.h>
#include <math.h>

#include "loss/float.h"

#define LF_INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };
typedef __m512 vf;

LF_INLINE vf v_all(float x) { return _mm512_set1_ps(x); }
LF_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
LF_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
LF_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
LF_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
LF_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
LF_INLINE vf v_if_below(vf a, vf b, vf yes, vf no) {
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), yes);
}
LF_INLINE float v_sum(vf a) { return _mm512_reduce_add_ps(a); }
LF_INLINE float v_top(vf a) { return _mm512_reduce_max_ps(a); }

LF_INLINE int v_below(vf a, float limit) { return _mm512_cmp_ps_mask(a, v_all(limit), _CMP_LT_OQ) == 0xffff; }

/* Half of 2^(j / 16). */
static const float v_halves[16] __attribute__((aligned(64))) = {
    0x1.000000p-1f, 0x1.0b5586p-1f, 0x1.172b84p-1f, 0x1.2387a6p-1f, 0x1.306fe0p-1f, 0x1.3dea64p-1f,
    0x1.4bfdaep-1f, 0x1.5ab07ep-1f, 0x1.6a09e6p-1f, 0x1.7a1148p-1f, 0x1.8ace54p-1f, 0x1.9c4918p-1f,
    0x1.ae89fap-1f, 0x1.c199bep-1f, 0x1.d5818ep-1f, 0x1.ea4afap-1f,
};

/* References are whole multiples of ln 2: then z - ref need not be computed, since 2^-n is put into the table. */
static const float V_LN2 = 0x1.62e43p-1f;

enum { SHIFTS = 1 };
static const double FAR = 80.0;
typedef struct {
    vf halves;
} v_origin;

LF_INLINE double v_origin_near(double ref) { return rint(ref / V_LN2) * V_LN2; }
LF_INLINE v_origin v_origin_at(double ref) {
    return (v_origin){_mm512_scalef_ps(_mm512_load_ps(v_halves), v_all((float)-rint(ref / V_LN2)))};
}

/* z = n ln 2 + r, where n is a multiple of a 16th: it is rounded by the addition of 1.5 * 2^19, after which its 16ths
 * stand in the low bits. `half` is half of 2^n, and the last multiplication needs no limits: it ends in 0 or infinity. */
typedef struct {
    vf half, r;
} v_split;

LF_INLINE v_split v_split_of(vf z, v_origin from) {
    const vf magic = v_all(0x1.8p19f);
    vf t = _mm512_fmadd_ps(z, v_all(1.44269504f), magic), n = _mm512_sub_ps(t, magic);
    vf half = _mm512_scalef_ps(_mm512_permutexvar_ps(_mm512_castps_si512(t), from.halves), n);
    return (v_split){half, _mm512_fmadd_ps(n, v_all(-V_LN2), z)};
}

/* 2 * exp(r) = 2 + 2 r + r^2 with the cubic term spread over the linear one, as a square: (c + r)^2 + 2 - c^2. */
LF_INLINE vf v_twice_exp(vf r) {
    vf u = _mm512_add_ps(r, v_all(1.0000587f));
    return _mm512_fmadd_ps(u, u, v_all(0.9998827f));
}

LF_INLINE vf v_exp_from(vf z, v_origin from) {
    v_split s = v_split_of(z, from);
    return _mm512_mul_ps(s.half, v_twice_exp(s.r));
}

LF_INLINE vf v_add_exp(vf sum, vf z, v_origin from) {
    v_split s = v_split_of(z, from);
    return _mm512_fmadd_ps(s.half, v_twice_exp(s.r), sum);
}

/* The second operand is the result where one is no number. */
LF_INLINE vf v_no_abyss(vf z) { return _mm512_max_ps(v_all(-1000.0f), z); }

/* Two instructions more: the cubic term, and nothing is lost beside the 1 of 1 + r. */
LF_INLINE vf v_exp(vf d) {
    v_split s = v_split_of(v_no_abyss(d), v_origin_at(0.0));
    vf power = _mm512_add_ps(s.half, s.half), q = _mm512_fmadd_ps(s.r, v_all(1.66666667e-1f), v_all(0.5f));
    q = _mm512_fmadd_ps(q, s.r, v_all(1.0f));
    return _mm512_fmadd_ps(_mm512_mul_ps(power, s.r), q, power);
}

LF_INLINE __mmask16 v_first(size_t n) { return n >= LANES ? 0xffff : (__mmask16)((1u << n) - 1); }
LF_INLINE vf v_of_bf16(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }

LF_INLINE vf v_load(lf_float type, const void *p, size_t i) {
    if (type == LF_F32) return _mm512_loadu_ps((const float *)p + i);
    __m256i h = _mm256_loadu_si256((const __m256i *)((const uint16_t *)p + i));
    return type == LF_BF16 ? v_of_bf16(h) : _mm512_cvtph_ps(h);
}

/* Of bfloat16 two pairs of vectors: the elements at even places, and those at odd ones. One instruction for each. */
LF_INLINE void v_load4(lf_float type, const void *p, size_t i, vf out[4]) {
    for (size_t k = 0; k < 4; k += type == LF_BF16 ? 2 : 1) {
        if (type != LF_BF16) {
            out[k] = v_load(type, p, i + k * LANES);
            continue;
        }
        __m512i pairs = _mm512_loadu_si512((const uint16_t *)p + i + k * LANES);
        out[k] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
        out[k + 1] = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
    }
}

LF_INLINE vf v_load_part(lf_float type, const void *p, size_t i, size_t n, float fill) {
    if (type == LF_F32) return _mm512_mask_loadu_ps(v_all(fill), v_first(n), (const float *)p + i);
    __m256i h = _mm256_maskz_loadu_epi16(v_first(n), (const uint16_t *)p + i);
    return _mm512_mask_mov_ps(v_all(fill), v_first(n), type == LF_BF16 ? v_of_bf16(h) : _mm512_cvtph_ps(h));
}

/* The bits of a bfloat16 in the upper half of each lane, rounded to nearest. Half a unit is added; where nothing is left
 * below, x lay in the middle and the even neighbour is taken. */
LF_INLINE __m512i v_half_up(vf x) { return _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000)); }
LF_INLINE __mmask16 v_ties(__m512i up) { return _mm512_testn_epi32_mask(up, _mm512_set1_epi32(0xffff)); }
LF_INLINE __m512i v_to_even(__m512i up) {
    return _mm512_mask_and_epi32(up, v_ties(up), up, _mm512_set1_epi32((int)0xfffeffff));
}

LF_INLINE __m256i v_half(lf_float type, vf x) {
    if (type == LF_F16) return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(v_to_even(v_half_up(x)), 16));
}

LF_INLINE void v_store_part(lf_float type, void *p, size_t i, vf x, size_t n) {
    if (type == LF_F32) _mm512_mask_storeu_ps((float *)p + i, v_first(n), x);
    else _mm256_mask_storeu_epi16((uint16_t *)p + i, v_first(n), v_half(type, x));
}

/* Of bfloat16 one in 65536 lies in the middle: whether any does is asked of the least of 64. */
LF_INLINE void v_store4_bf16(void *p, size_t i, const vf x[4]) {
    __m512i up[4] = {v_half_up(x[0]), v_half_up(x[1]), v_half_up(x[2]), v_half_up(x[3])};
    __m512i least = _mm512_min_epu16(_mm512_min_epu16(up[0], up[1]), _mm512_min_epu16(up[2], up[3]));
    if (LF_UNLIKELY(v_ties(least)))
        for (size_t k = 0; k < 4; k++) up[k] = v_to_even(up[k]);
    for (size_t k = 0; k < 4; k += 2) {
        __m512i line = _mm512_mask_mov_epi16(up[k + 1], 0x55555555, _mm512_srli_epi32(up[k], 16));
        _mm512_storeu_si512((uint16_t *)p + i + k * LANES, line);
    }
}

LF_INLINE void v_store4(lf_float type, void *p, size_t i, const vf x[4]) {
    if (type == LF_BF16) {
        v_store4_bf16(p, i, x);
        return;
    }
    for (size_t k = 0; k < 4; k += type == LF_F32 ? 1 : 2) {
        __m512i line;
        if (type == LF_F32) line = _mm512_castps_si512(x[k]);
        else line = _mm512_inserti64x4(_mm512_castsi256_si512(v_half(type, x[k])), v_half(type, x[k + 1]), 1);
        _mm512_storeu_si512((char *)p + (i + k * LANES) * lf_float_size(type), line);
    }
}

/* Of bfloat16 the bits are compared, as signed numbers: `high` is the largest where that is positive, else `low` is. */
typedef struct {
    __m512i high, low;
} v_tops;

LF_INLINE v_tops v_no_tops(lf_float type) {
    if (type == LF_BF16) return (v_tops){_mm512_set1_epi16(INT16_MIN), _mm512_set1_epi16(INT16_MAX)};
    __m512i none = _mm512_castps_si512(v_all(-INFINITY));
    return (v_tops){none, none};
}

LF_INLINE void v_raise(lf_float type, v_tops *tops, const void *p, size_t i) {
    for (size_t k = 0; k < 4; k += 2) {
        if (type == LF_BF16) {
            __m512i bits = _mm512_loadu_si512((const uint16_t *)p + i + k * LANES);
            tops->high = _mm512_max_epi16(tops->high, bits);
            tops->low = _mm512_min_epi16(tops->low, bits);
        } else {
            vf high = v_max(v_load(type, p, i + k * LANES), _mm512_castsi512_ps(tops->high));
            vf low = v_max(v_load(type, p, i + (k + 1) * LANES), _mm512_castsi512_ps(tops->low));
            *tops = (v_tops){_mm512_castps_si512(high), _mm512_castps_si512(low)};
        }
    }
}

/* The least of 32 unsigned numbers. */
LF_INLINE int v_least(__m512i x) {
    __m256i half = _mm256_min_epu16(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    __m128i quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return _mm_cvtsi128_si32(_mm_minpos_epu16(quarter)) & 0xffff;
}

LF_INLINE float v_highest(lf_float type, const v_tops *tops) {
    if (type != LF_BF16) return v_top(v_max(_mm512_castsi512_ps(tops->high), _mm512_castsi512_ps(tops->low)));
    uint32_t top = (uint32_t)v_least(_mm512_xor_si512(tops->high, _mm512_set1_epi16(0x7fff))) ^ 0x7fff;
    if (top & 0x8000) top = (uint32_t)v_least(_mm512_xor_si512(tops->low, _mm512_set1_epi16(INT16_MIN))) ^ 0x8000;
    return lf_float_of_bits(top << 16);
}

LF_INLINE void v_stream_line(void *to, const void *from) { _mm512_stream_si512(to, _mm512_loadu_si512(from)); }
LF_INLINE void v_fence(void) { _mm_sfence(); }

#endif
