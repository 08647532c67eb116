/* The splitter with AVX-512; see split_blocks.h. */
#include <immintrin.h>
#include <stdint.h>

#include "lf.h"

typedef __m512i block;

static inline block load_block(const uint8_t *p, size_t left) {
    return left >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(((uint64_t)1 << left) - 1, p);
}

static inline block folded(block b) { return _mm512_or_si512(b, _mm512_set1_epi8(0x20)); }
static inline uint64_t equal(block b, uint8_t c) { return _mm512_cmpeq_epi8_mask(b, _mm512_set1_epi8((char)c)); }
static inline uint64_t high(block b) { return _mm512_movepi8_mask(b); }

static inline uint64_t in_range(block b, uint8_t low, uint8_t top) {
    return _mm512_cmple_epu8_mask(_mm512_sub_epi8(b, _mm512_set1_epi8((char)low)), _mm512_set1_epi8((char)(top - low)));
}

static const uint8_t INDEX[64] __attribute__((aligned(64))) = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

/* Packs the numbers of the set bits, widens them to 32 bits and stores more than there are. */
static inline size_t append(uint32_t *bounds, uint32_t offset, uint64_t starts) {
    const __m512i packed = _mm512_maskz_compress_epi8(starts, _mm512_load_si512(INDEX)),
                  base = _mm512_set1_epi32((int)offset);
    const size_t n = (size_t)__builtin_popcountll(starts);
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
    return n;
}

#include "text/split_blocks.h"

lf_split_batch lf_split_fill_avx512(lf_split_run *run, uint32_t *bounds) { return fill(run, bounds); }
