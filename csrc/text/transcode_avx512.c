/* UTF-8 to characters with AVX-512, 16 bytes at a time; see transcode.h. */
#include <immintrin.h>
#include <string.h>

#include "text/transcode.h"

/* Four bytes from each of 16 places on: lane i has bytes i .. i + 3. */
static inline __m512i windows(const uint8_t *p) {
    const __m512i first = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i index =
        _mm512_add_epi32(_mm512_mullo_epi32(first, _mm512_set1_epi32(0x01010101)), _mm512_set1_epi32(0x03020100));
    return _mm512_permutexvar_epi8(index, _mm512_loadu_si512(p));
}

/* Byte i of each window without its two highest bits, at the place of the k-th six bits of a code point. */
#define SIX(v, i, k)                                                                                                   \
    _mm512_slli_epi32(_mm512_and_si512(_mm512_srli_epi32(v, 8 * (i)), _mm512_set1_epi32(0x3F)), 6 * (k))
#define FIRST(v, mask, k) _mm512_slli_epi32(_mm512_and_si512(v, _mm512_set1_epi32(mask)), 6 * (k))

/* The characters that begin at p .. p + 16, in the lanes where they begin; 0 if one is ill-formed. `open` says which of
 * the bytes have to continue a character that began before, and gets the same for the next 16. */
static inline int characters(const uint8_t *p, uint32_t *open, __mmask16 *begins, __m512i *result) {
    const __m128i x = _mm_loadu_si128((const void *)p);
    const __m256i y = _mm256_loadu_si256((const void *)p);
    const uint32_t more = _mm256_cmplt_epi8_mask(y, _mm256_set1_epi8(-0x40)); /* 10xxxxxx */
    const uint32_t from_c2 = _mm_cmpge_epu8_mask(x, _mm_set1_epi8((char)0xC2));
    const uint32_t from_e0 = _mm_cmpge_epu8_mask(x, _mm_set1_epi8((char)0xE0));
    const uint32_t from_f0 = _mm_cmpge_epu8_mask(x, _mm_set1_epi8((char)0xF0));
    const uint32_t from_f5 = _mm_cmpge_epu8_mask(x, _mm_set1_epi8((char)0xF5));
    const uint32_t ascii = ~(uint32_t)_mm_movepi8_mask(x) & 0xFFFF;
    const uint32_t expected = *open | from_c2 << 1 | from_e0 << 2 | from_f0 << 3;
    *open = expected >> 16;
    *begins = (__mmask16)~more;
    /* Each byte begins a character or is expected, and what lies past these 16 is there too. */
    uint32_t wrong = (expected ^ more) & 0xFFFF;
    wrong |= from_f5 | (~(ascii | from_c2 | more) & 0xFFFF) | (expected >> 16 & ~(more >> 16));

    const __m512i v = windows(p);
    const __m512i two = _mm512_or_si512(FIRST(v, 0x1F, 1), SIX(v, 1, 0));
    const __m512i three = _mm512_or_si512(_mm512_or_si512(FIRST(v, 0x0F, 2), SIX(v, 1, 1)), SIX(v, 2, 0));
    __m512i c = _mm512_and_si512(v, _mm512_set1_epi32(0xFF));
    c = _mm512_mask_mov_epi32(c, (__mmask16)from_c2, two);
    c = _mm512_mask_mov_epi32(c, (__mmask16)from_e0, three);
    const __m512i high = _mm512_and_si512(three, _mm512_set1_epi32(0xF800)); /* 0: overlong; 0xD800: a surrogate */
    wrong |= _mm512_mask_cmpeq_epi32_mask((__mmask16)(from_e0 & ~from_f0), high, _mm512_setzero_si512());
    wrong |= _mm512_mask_cmpeq_epi32_mask((__mmask16)(from_e0 & ~from_f0), high, _mm512_set1_epi32(0xD800));
    if (from_f0) {
        const __m512i low = _mm512_or_si512(SIX(v, 2, 1), SIX(v, 3, 0));
        const __m512i four = _mm512_or_si512(_mm512_or_si512(FIRST(v, 0x07, 3), SIX(v, 1, 2)), low);
        const __m512i past = _mm512_sub_epi32(four, _mm512_set1_epi32(0x10000));
        wrong |= _mm512_mask_cmpge_epu32_mask((__mmask16)from_f0, past, _mm512_set1_epi32(0x100000));
        c = _mm512_mask_mov_epi32(c, (__mmask16)from_f0, four);
    }
    *result = c;
    return wrong == 0;
}

static inline void store_16(void *out, size_t at, unsigned width, __m512i c) {
    if (width == 1) _mm_storeu_si128((void *)((uint8_t *)out + at), _mm512_cvtepi32_epi8(c));
    else if (width == 2) _mm256_storeu_si256((void *)((uint16_t *)out + at), _mm512_cvtepi32_epi16(c));
    else _mm512_storeu_si512((uint32_t *)out + at, c);
}

static inline int is_ascii_64(const uint8_t *p) { return _mm512_movepi8_mask(_mm512_loadu_si512(p)) == 0; }

static inline void read_wide(const uint8_t *text, size_t n, unsigned width, void *out, size_t room,
                             lf_utf8_progress *progress) {
    size_t at = 0, n_out = 0;
    uint32_t open = 0;
    __m512i bits = _mm512_setzero_si512();
    while (n - at >= 64 && room - n_out >= 64) {
        if (open == 0 && is_ascii_64(text + at)) {
            for (size_t k = 0; k < 64; k += 16)
                store_16(out, n_out + k, width, _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(text + at + k))));
            at += 64, n_out += 64;
            continue;
        }
        __mmask16 begins;
        __m512i c;
        uint32_t open_after = open;
        if (!characters(text + at, &open_after, &begins, &c)) break;
        open = open_after;
        c = _mm512_maskz_compress_epi32(begins, c);
        bits = _mm512_or_si512(bits, c);
        store_16(out, n_out, width, c);
        at += 16, n_out += (unsigned)__builtin_popcount(begins);
    }
    at += (unsigned)__builtin_popcount(open); /* seen and found right */
    lf_utf8_progress rest = {.bits = progress->bits | (uint32_t)_mm512_reduce_or_epi32(bits)};
    lf_utf8_read_plain(text + at, n - at, width, (uint8_t *)out + n_out * width, room - n_out, &rest);
    *progress = (lf_utf8_progress){at + rest.n_read, n_out + rest.n_written, rest.bits};
}

void lf_utf8_read_avx512(const uint8_t *text, size_t n, unsigned width, void *out, size_t room,
                         lf_utf8_progress *progress) {
    if (width == 1) read_wide(text, n, 1, out, room, progress);
    else if (width == 2) read_wide(text, n, 2, out, room, progress);
    else read_wide(text, n, 4, out, room, progress);
}
