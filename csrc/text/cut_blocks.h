/* cut_blocks.h - pieces of a window and the cuts inside long ones, from words of the starts of pieces (split_run.h).
 *
 * A piece is long if it has more than 15 bytes: no start follows in the 15 bytes after its own. In a row of bits
 *
 *     starts    1 . . . . 1 . . . . . . . . . . . . . . . . . . 1 .
 *     long      . . . . . 1 . . . . . . . . . . . . . . . . . . . .
 *     inside    . . . . . . 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 . .    run & ~(run + first), see split_blocks.h
 *     cuts      . . . . . . . . 1 . . . . . 1 . . 1 . . . . . . . .    where no token has both characters side by side
 *
 * In pieces of up to 31 bytes only cuts beside a character of three bytes are looked for: such scripts have no spaces between
 * words, and a word of others is better kept whole. Any cut may be left out, so characters of four bytes have none.
 *
 * For AVX-512: with AVX2 it gained nothing over cutting piece by piece. */
#ifndef LF_TEXT_CUT_BLOCKS_H
#define LF_TEXT_CUT_BLOCKS_H

#include <string.h>

#include "text/append.h"
#include "text/bpe.h"
#include "text/split_run.h"

/* The bytes of a block that are ASCII, begin characters of two and of three bytes, continue characters. */
typedef struct {
    uint64_t ascii, two, three, inside;
} block_bytes;

static inline block_bytes bytes_of_block(const uint8_t *p, size_t left) {
    uint8_t padded[64] = {0};
    if (LF_UNLIKELY(left < 64)) memcpy(padded, p, left), p = padded;
    const __m512i b = _mm512_loadu_si512(p), c0 = _mm512_set1_epi8((char)0xC0), e0 = _mm512_set1_epi8((char)0xE0);
    return (block_bytes){~_mm512_movepi8_mask(b), _mm512_cmplt_epu8_mask(_mm512_sub_epi8(b, c0), _mm512_set1_epi8(32)),
                         _mm512_cmplt_epu8_mask(_mm512_sub_epi8(b, e0), _mm512_set1_epi8(16)),
                         _mm512_cmplt_epi8_mask(b, c0)};
}

/* Starts that no other one follows in the 15 bytes after it, in the 31. */
typedef struct {
    uint64_t of_16, of_32;
} long_starts;

static inline long_starts long_starts_of(uint64_t starts, uint64_t next) {
    unsigned __int128 after = ((unsigned __int128)next << 64 | starts) >> 1;
    after |= after >> 1, after |= after >> 2, after |= after >> 4, after |= after >> 7;
    return (long_starts){starts & ~(uint64_t)after, starts & ~(uint64_t)(after | after >> 16)};
}

/* The bytes after the starts at `begin`, up to the next one; `open` is 1 if such a piece goes on from the block before. */
static inline uint64_t rest_of(uint64_t starts, uint64_t begin, uint64_t open) {
    const uint64_t run = ~starts;
    return run & ~(run + ((begin << 1 | open) & run));
}

/* Where characters of one, two or three bytes meet. What is only taken for one is ill-formed: see lf_bpe_is_cut. */
static inline uint64_t meetings(block_bytes before, block_bytes b, uint64_t *with_three) {
    const uint64_t after_inside = b.inside << 1 | before.inside >> 63;
    const uint64_t after_three = (b.three << 3 | before.three >> 61) & after_inside;
    const uint64_t after_two = (b.two << 2 | before.two >> 62) & after_inside;
    const uint64_t after = after_three | after_two | (b.ascii << 1 | before.ascii >> 63);
    const uint64_t all = after & (b.ascii | b.two | b.three);
    *with_three = all & (after_three | b.three);
    return all;
}

/* The bytes that are there of 64, if there are n. */
static inline uint64_t first_bytes(size_t n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

/* Those of the candidates in the block at text[at] that are cuts. Sixteen at a time: the four bytes on each side make numbers of
 * one to three bytes. */
static inline uint64_t cuts_among(const lf_bpe *m, const uint8_t *text, size_t n_text, size_t at, uint64_t candidates) {
    const size_t left = n_text - at;
    const uint8_t *p = text + at;
    const __m512i low = _mm512_maskz_loadu_epi8(first_bytes(left + 4) & (at ? ~(uint64_t)0 : ~(uint64_t)15), p - 4);
    const __m512i high = _mm512_maskz_loadu_epi8(left > 60 ? first_bytes(left - 60) : 0, p + 60);
    const __m512i numbers = _mm512_load_si512(LF_INDEX), four = _mm512_set1_epi32(0x03020100);
    const __m512i spread = _mm512_broadcast_i32x4(_mm_set_epi8(12, 12, 12, 12, 8, 8, 8, 8, 4, 4, 4, 4, 0, 0, 0, 0));
    const __m512i lowest = _mm512_set1_epi32(0xFF), bits = _mm512_set1_epi32(31);
    const __m512i places = _mm512_maskz_compress_epi8(candidates, numbers);
    const unsigned n = (unsigned)__builtin_popcountll(candidates);
    uint64_t cuts = 0;
    for (unsigned k = 0; k < n; k += 16) {
        const __m512i some = _mm512_permutexvar_epi8(_mm512_add_epi8(numbers, _mm512_set1_epi8((char)k)), places);
        const __m512i place = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(some));
        const __m512i at = _mm512_add_epi8(_mm512_shuffle_epi8(place, spread), four);
        const __m512i last = _mm512_permutex2var_epi8(low, at, high);
        const __m512i first = _mm512_permutex2var_epi8(low, _mm512_add_epi8(at, _mm512_set1_epi8(4)), high);
        /* Before: one byte below 0x80, else three, but two if the last but one begins a character. After: by the first. */
        const __mmask16 more = _mm512_movepi32_mask(last);
        const __mmask16 two =
            _mm512_mask_cmpge_epu32_mask(more, _mm512_slli_epi32(last, 8), _mm512_set1_epi32(-0x40000000));
        __m512i before = _mm512_srli_epi32(last, 24);
        before = _mm512_mask_srli_epi32(before, more, last, 8);
        before = _mm512_mask_srli_epi32(before, two, last, 16);
        const __m512i lead = _mm512_and_si512(first, lowest);
        __m512i after = lead;
        after = _mm512_mask_and_epi32(after, _mm512_cmpge_epu32_mask(lead, _mm512_set1_epi32(0x80)), first,
                                      _mm512_set1_epi32(0xFFFF));
        after = _mm512_mask_and_epi32(after, _mm512_cmpge_epu32_mask(lead, _mm512_set1_epi32(0xE0)), first,
                                      _mm512_set1_epi32(0xFFFFFF));
        /* lf_bpe_is_cut */
        const __m512i character =
            _mm512_srli_epi32(_mm512_add_epi32(_mm512_mullo_epi32(before, _mm512_set1_epi32((int)LF_BPE_CUT_BEFORE)),
                                               _mm512_mullo_epi32(after, _mm512_set1_epi32((int)LF_BPE_CUT_AFTER))),
                              32 - LF_BPE_CUT_BITS);
        const __m512i pair = _mm512_or_si512(_mm512_slli_epi32(_mm512_srli_epi32(last, 24), 8), lead);
        const __m512i characters = _mm512_i32gather_epi32(_mm512_srli_epi32(character, 5), m->joined_characters, 4);
        const __m512i pairs = _mm512_i32gather_epi32(_mm512_srli_epi32(pair, 5), m->joined_bytes, 4);
        const __m512i joined = _mm512_or_si512(_mm512_srlv_epi32(characters, _mm512_and_si512(character, bits)),
                                               _mm512_srlv_epi32(pairs, _mm512_and_si512(pair, bits)));
        cuts |= (uint64_t)_mm512_testn_epi32_mask(joined, _mm512_set1_epi32(1)) << k;
    }
    return _pdep_u64(cuts, candidates); /* lanes past the last are dropped */
}

/* The cuts in the block at text[at], where long pieces begin; `open` of the block before tells whether one goes on. */
static inline uint64_t cuts_of_block(const lf_bpe *m, const uint8_t *text, size_t n_text, size_t at, uint64_t starts,
                                     long_starts begin, long_starts *open) {
    const uint64_t rest_16 = rest_of(starts, begin.of_16, open->of_16);
    const uint64_t rest_32 = rest_of(starts, begin.of_32, open->of_32);
    *open = (long_starts){(rest_16 | begin.of_16) >> 63, (rest_32 | begin.of_32) >> 63};
    const block_bytes none = {0, 0, 0, 0}, before = at < 64 ? none : bytes_of_block(text + at - 64, 64);
    const size_t left = n_text - at;
    uint64_t with_three, candidates = meetings(before, bytes_of_block(text + at, left), &with_three);
    candidates &= (with_three & rest_16) | rest_32;
    if (LF_UNLIKELY(at == 0)) candidates &= ~(uint64_t)15; /* four bytes are read on both sides */
    if (LF_UNLIKELY(left < 68)) candidates &= left < 4 ? 0 : ~(uint64_t)0 >> (67 - left);
    return candidates ? cuts_among(m, text, n_text, at, candidates) : 0;
}

/* Writes the bounds of a batch that came as words, from bounds[n] on and with cuts among them; sets bit k of `inner` for each
 * bound k that is a cut. Returns how many bounds there are now. */
static size_t cut_blocks(const lf_bpe *m, const uint8_t *text, size_t n_text, const lf_split_batch *batch,
                         const uint64_t *words, size_t n, uint32_t *bounds, uint64_t *inner) {
    long_starts open = {0, 0};
    size_t last = batch->n_blocks - 1;
    while (!words[last]) last--;
    for (size_t j = 0; j <= last; j++) {
        const size_t at = batch->at + 64 * j;
        const uint64_t starts = words[j];
        uint64_t cuts = 0;
        long_starts begin = long_starts_of(starts, words[j + 1]);
        if (LF_UNLIKELY(j == last)) { /* no piece begins where the last one ends */
            const uint64_t but_last = ((uint64_t)1 << (63 - __builtin_clzll(starts))) - 1;
            begin.of_16 &= but_last, begin.of_32 &= but_last;
        }
        if (begin.of_16 | open.of_16) cuts = cuts_of_block(m, text, n_text, at, starts, begin, &open);
        if (cuts) {
            const uint64_t bits = _pext_u64(cuts, starts | cuts);
            inner[n / 64] |= bits << n % 64;
            if (n % 64) inner[n / 64 + 1] |= bits >> (64 - n % 64);
        }
        n += append(bounds + n, (uint32_t)(at - batch->base), starts | cuts);
    }
    return n;
}

#endif
