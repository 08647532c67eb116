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

#include "text/split_blocks.h"

lf_split_batch lf_split_fill_avx512(lf_split_run *run, uint32_t *bounds) { return fill(run, bounds); }
