/* bert_blocks.h - ASCII to words, 64 bytes at a time. Included by bert_body.h.
 *
 * Letters become small ones in the register; where words start and stop is a matter of masks of 64 bits, a bit a byte:
 *
 *     text      H i ,   B E R T
 *     word      1 1 . . 1 1 1 1
 *     alone     . . 1 . . . . .
 *     starts    1 . 1 . 1 . . .     word and none before it, or alone
 *     lasts     . 1 1 . . . . .     word and none after it, or alone; the last byte of the block stays open */
#include <immintrin.h>

#if defined(__AVX512BW__)
typedef __m512i block;

static inline block load_block(const uint8_t *p, size_t left) {
    return left >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(((uint64_t)1 << left) - 1, p);
}
static inline uint64_t high(block b) { return _mm512_movepi8_mask(b); }
static inline uint64_t equal(block b, uint8_t c) { return _mm512_cmpeq_epi8_mask(b, _mm512_set1_epi8((char)c)); }
static inline uint64_t in_range(block b, uint8_t low, uint8_t top) {
    return _mm512_cmple_epu8_mask(_mm512_sub_epi8(b, _mm512_set1_epi8((char)low)), _mm512_set1_epi8((char)(top - low)));
}
/* The bits of `value` in the bytes of a mask. */
static inline block with_bits(block b, uint64_t mask, uint8_t value) {
    return _mm512_or_si512(b, _mm512_maskz_set1_epi8(mask, (char)value));
}
static inline void store_block(uint8_t *p, block b) { _mm512_storeu_si512(p, b); }

/* Appends base + i for each bit i of a mask; stores more than there are, up to 64. */
static inline size_t append(uint32_t *places, uint32_t base, uint64_t mask) {
    static const uint8_t index[64] __attribute__((aligned(64))) = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const __m512i packed = _mm512_maskz_compress_epi8(mask, _mm512_load_si512(index)),
                  first = _mm512_set1_epi32((int)base);
    const size_t n = (size_t)__builtin_popcountll(mask);
#define STORE(part)                                                                                                    \
    _mm512_storeu_si512(places + 16 * part,                                                                            \
                        _mm512_add_epi32(first, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(packed, part))))
    STORE(0);
    if (LF_UNLIKELY(n > 16)) {
        STORE(1);
        STORE(2);
        STORE(3);
    }
#undef STORE
    return n;
}
#else
typedef struct {
    __m256i half[2];
} block;

static inline uint64_t both(__m256i low, __m256i top) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(top) << 32;
}
static inline block load_block(const uint8_t *p, size_t left) {
    uint8_t copy[64] = {0};
    if (left < 64) p = memcpy(copy, p, left);
    return (block){{_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 32))}};
}
static inline uint64_t high(block b) { return both(b.half[0], b.half[1]); }
static inline uint64_t equal(block b, uint8_t c) {
    const __m256i all = _mm256_set1_epi8((char)c);
    return both(_mm256_cmpeq_epi8(b.half[0], all), _mm256_cmpeq_epi8(b.half[1], all));
}
static inline __m256i half_in_range(__m256i b, uint8_t low, uint8_t top) {
    const __m256i from = _mm256_sub_epi8(b, _mm256_set1_epi8((char)low));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(from, _mm256_set1_epi8((char)(top - low))), from);
}
static inline uint64_t in_range(block b, uint8_t low, uint8_t top) {
    return both(half_in_range(b.half[0], low, top), half_in_range(b.half[1], low, top));
}
static inline __m256i half_with_bits(__m256i b, uint32_t mask, uint8_t value) {
    const __m256i bits = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)mask),
                                               _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                                                2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    const __m256i chosen = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bits), bits);
    return _mm256_or_si256(b, _mm256_and_si256(chosen, _mm256_set1_epi8((char)value)));
}
static inline block with_bits(block b, uint64_t mask, uint8_t value) {
    return (block){
        {half_with_bits(b.half[0], (uint32_t)mask, value), half_with_bits(b.half[1], (uint32_t)(mask >> 32), value)}};
}
static inline void store_block(uint8_t *p, block b) {
    _mm256_storeu_si256((void *)p, b.half[0]);
    _mm256_storeu_si256((void *)(p + 32), b.half[1]);
}
static inline size_t append(uint32_t *places, uint32_t base, uint64_t mask) {
    const size_t n = (size_t)__builtin_popcountll(mask);
    for (; mask; mask &= mask - 1) *places++ = base + (uint32_t)__builtin_ctzll(mask);
    return n;
}
#endif

/* Puts blocks as long as they begin with ASCII enough, none of it a control character but tab and line ends, and the
 * window has room. Returns where it stopped. */
static size_t put_blocks(lf_bert_workspace *w, const uint8_t *text, size_t n, size_t at) {
    const lf_bert_options *options = &w->bert->options;
    const uint8_t small = options->lowercase ? 0x20 : 0;
    const uint64_t alone_on = options->rule == LF_WORDS_BERT ? ~(uint64_t)0 : 0,
                   sign_on = options->rule == LF_WORDS_CLASSES ? ~(uint64_t)0 : 0;
    writer to = w->to;
    while (at < n && !is_full(w, &to)) {
        const size_t left = n - at;
        const block b = load_block(text + at, left);
        const uint64_t blank = equal(b, ' ') | in_range(b, 9, 10) | equal(b, 13);
        const uint64_t other = high(b) | (in_range(b, 0, 31) & ~blank) | equal(b, 127);
        size_t length = other ? (size_t)__builtin_ctzll(other) : 64;
        if (length > left) length = left;
        if (length < ASCII_LEAST && length < left) break;
        const uint64_t valid = length == 64 ? ~(uint64_t)0 : ((uint64_t)1 << length) - 1, last = valid ^ valid >> 1;
        const uint64_t upper = in_range(b, 'A', 'Z');
        const uint64_t named = (upper | in_range(b, 'a', 'z') | in_range(b, '0', '9'));
        const uint64_t apart = ~(named | blank) & valid; /* ASCII punctuation, the underscore among it */
        const uint64_t alone = apart & alone_on, sign = apart & sign_on & ~equal(b, '_');
        const uint64_t word = ~(blank | alone | sign) & valid;
        if (to.open && !((to.open == LF_WORDY ? word : sign) & 1)) close_word(&to);
        const uint64_t word_before = word << 1 | (to.open == LF_WORDY), sign_before = sign << 1 | (to.open == LF_SIGN);
        const uint64_t starts = (word & ~word_before) | (sign & ~sign_before) | alone;
        const uint64_t lasts = (((word & ~(word >> 1)) | (sign & ~(sign >> 1))) & ~last) | alone;
        store_block(to.window + to.n, with_bits(b, upper, small));
        to.n_starts += append(to.starts + to.n_starts, (uint32_t)to.n, starts);
        to.n_stops += append(to.stops + to.n_stops, (uint32_t)to.n + 1, lasts);
        to.open = word & last ? LF_WORDY : sign & last ? LF_SIGN : 0;
        to.n += length;
        at += length;
    }
    w->to = to;
    return at;
}
