/* The splitter with AVX2; see split_blocks.h. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    __m256i low, high;
} block;

static inline block load_block(const uint8_t *p, size_t left) {
    uint8_t padded[64] = {0};
    if (left < 64) memcpy(padded, p, left), p = padded;
    return (block){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 32))};
}

static inline uint64_t bits(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

static inline block folded(block b) {
    const __m256i bit = _mm256_set1_epi8(0x20);
    return (block){_mm256_or_si256(b.low, bit), _mm256_or_si256(b.high, bit)};
}

static inline uint64_t equal(block b, uint8_t c) {
    const __m256i all = _mm256_set1_epi8((char)c);
    return bits(_mm256_cmpeq_epi8(b.low, all), _mm256_cmpeq_epi8(b.high, all));
}

static inline uint64_t high(block b) { return bits(b.low, b.high); }

static inline __m256i half_in_range(__m256i half, __m256i low, __m256i span) {
    const __m256i from_low = _mm256_sub_epi8(half, low);
    return _mm256_cmpeq_epi8(_mm256_min_epu8(from_low, span), from_low);
}

static inline uint64_t in_range(block b, uint8_t low, uint8_t top) {
    const __m256i first = _mm256_set1_epi8((char)low), span = _mm256_set1_epi8((char)(top - low));
    return bits(half_in_range(b.low, first, span), half_in_range(b.high, first, span));
}

#include "text/split_blocks.h"

lf_split_batch lf_split_fill_avx2(lf_split_run *run, uint32_t *bounds) { return fill(run, bounds); }
