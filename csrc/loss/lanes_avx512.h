/* lanes_avx512.h - vectors of 16 floats for cross_entropy_body.h and softmax_body.h; lanes_generic.h says what each
 * function is for. */
#ifndef LF_LOSS_LANES_H
#define LF_LOSS_LANES_H

#include <immintrin.h>

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

/* 2^(j / 32) with j / 32 taken from the exponent again, since j stands in the low bits of what is added to it. */
static const uint32_t v_powers[32] __attribute__((aligned(64))) = {
    0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0,
    0x3f7837f0, 0x3f778d3a, 0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6,
    0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e,
    0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3,
};

/* d = n / 32 * ln 2 + r: 2^(n / 32) comes from the table and the exponent, exp(r) = 1 + r + r^2 / 2 with the cubic term
 * spread over the linear one. n is rounded by adding 1.5 * 2^23, after which it stands in the low bits. */
LF_INLINE vf v_exp(vf d) {
    const vf magic = _mm512_set1_ps(0x1.8p23f);
    vf t = _mm512_fmadd_ps(d, _mm512_set1_ps(46.16624130844683f), magic);
    vf r = _mm512_fmadd_ps(_mm512_sub_ps(t, magic), _mm512_set1_ps(-0.02166084939249829f), d);
    __m512i n = _mm512_castps_si512(t);
    __m512i power = _mm512_permutex2var_epi32(_mm512_load_si512(v_powers), n, _mm512_load_si512(v_powers + 16));
    vf scale = _mm512_castsi512_ps(_mm512_add_epi32(power, _mm512_slli_epi32(n, 18)));
    vf q = _mm512_fmadd_ps(r, _mm512_set1_ps(0.5f), _mm512_set1_ps(1.00001466f));
    __mmask16 counts = _mm512_cmp_ps_mask(d, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ);
    return _mm512_maskz_fmadd_ps(counts, _mm512_mul_ps(scale, r), q, scale);
}

LF_INLINE __mmask16 v_first(size_t n) { return n >= LANES ? 0xffff : (__mmask16)((1u << n) - 1); }
LF_INLINE vf v_of_bf16(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }

LF_INLINE vf v_load(lf_float type, const void *p, size_t i) {
    if (type == LF_F32) return _mm512_loadu_ps((const float *)p + i);
    __m256i h = _mm256_loadu_si256((const __m256i *)((const uint16_t *)p + i));
    return type == LF_BF16 ? v_of_bf16(h) : _mm512_cvtph_ps(h);
}

LF_INLINE vf v_load_part(lf_float type, const void *p, size_t i, size_t n, float fill) {
    if (type == LF_F32) return _mm512_mask_loadu_ps(v_all(fill), v_first(n), (const float *)p + i);
    __m256i h = _mm256_maskz_loadu_epi16(v_first(n), (const uint16_t *)p + i);
    return _mm512_mask_mov_ps(v_all(fill), v_first(n), type == LF_BF16 ? v_of_bf16(h) : _mm512_cvtph_ps(h));
}

/* The bits of a bfloat16 in the upper half of each lane, rounded to nearest, ties to even. */
LF_INLINE __m512i v_round_bf16(vf x) {
    __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
}

LF_INLINE __m256i v_half(lf_float type, vf x) {
    if (type == LF_F16) return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(v_round_bf16(x), 16));
}

LF_INLINE void v_store_part(lf_float type, void *p, size_t i, vf x, size_t n) {
    if (type == LF_F32) _mm512_mask_storeu_ps((float *)p + i, v_first(n), x);
    else _mm256_mask_storeu_epi16((uint16_t *)p + i, v_first(n), v_half(type, x));
}

LF_INLINE void v_store4(lf_float type, void *p, size_t i, const vf x[4], int past_cache) {
    for (size_t k = 0; k < 4; k += type == LF_F32 ? 1 : 2) {
        __m512i line;
        if (type == LF_F32) {
            line = _mm512_castps_si512(x[k]);
        } else if (type == LF_BF16) {
            const __m512i upper = _mm512_set_epi32(
                0x003f003d, 0x003b0039, 0x00370035, 0x00330031, 0x002f002d, 0x002b0029, 0x00270025, 0x00230021,
                0x001f001d, 0x001b0019, 0x00170015, 0x00130011, 0x000f000d, 0x000b0009, 0x00070005, 0x00030001);
            line = _mm512_permutex2var_epi16(v_round_bf16(x[k]), upper, v_round_bf16(x[k + 1]));
        } else {
            line = _mm512_inserti64x4(_mm512_castsi256_si512(v_half(type, x[k])), v_half(type, x[k + 1]), 1);
        }
        void *to = (char *)p + (i + k * LANES) * lf_float_size(type);
        if (past_cache) _mm512_stream_si512(to, line);
        else _mm512_storeu_si512(to, line);
    }
}

LF_INLINE void v_fence(void) { _mm_sfence(); }

#endif
