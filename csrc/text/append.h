/* append.h - the numbers of the bits of a mask, as the instruction set of the including file has it. */
#ifndef LF_TEXT_APPEND_H
#define LF_TEXT_APPEND_H

#include <stddef.h>
#include <stdint.h>

#include "lf.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512VBMI2__)
static const uint8_t LF_INDEX[64] __attribute__((aligned(64))) = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
#endif

/* Writes offset + i for each bit i of `starts` and up to 31 numbers more; returns how many bits there are. */
static inline size_t append(uint32_t *bounds, uint32_t offset, uint64_t starts) {
    const size_t n = (size_t)__builtin_popcountll(starts);
#if defined(__AVX512VBMI2__)
    /* Packs the numbers, widens them to 32 bits. */
    const __m512i packed = _mm512_maskz_compress_epi8(starts, _mm512_load_si512(LF_INDEX)),
                  base = _mm512_set1_epi32((int)offset);
#define STORE(part)                                                                                                    \
    _mm512_storeu_si512(bounds + 16 * part,                                                                            \
                        _mm512_add_epi32(base, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(packed, part))))
    STORE(0);
    STORE(1);
    if (LF_UNLIKELY(n > 32)) {
        STORE(2);
        STORE(3);
    }
#undef STORE
#else
    for (size_t i = 0; i < n; i += 8) /* eight at a time */
        for (size_t k = i; k < i + 8; k++) bounds[k] = offset + (uint32_t)_tzcnt_u64(starts), starts &= starts - 1;
#endif
    return n;
}

#endif
