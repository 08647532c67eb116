/* sentencepiece_cuts.h - where texts are cut into words; see sentencepiece.h. Included by sentencepiece_encode.c.
 *
 * ASCII is cut 64 bytes at a time, with a bit a byte in every mask: letters, digits, spaces. Where a run of spaces begins
 * a word ends; where two bytes are not both letters or both digits, the table of pairs decides. At the first byte beyond
 * ASCII a scan goes from character to character, up to the next ASCII byte. */
#ifndef LF_TEXT_SENTENCEPIECE_CUTS_H
#define LF_TEXT_SENTENCEPIECE_CUTS_H

#include <string.h>

#include "text/sentencepiece.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    CUT_WORDS = 256,                  /* words of a batch */
    CUT_MOST = 2 * CUT_WORDS,         /* bounds after which no block and no character begins */
    CUT_ROOM = CUT_MOST + 2 * 64 + 8, /* ... and how many there can be then */
    CUT_RUN = 8                       /* bytes of a run that is given from the table of characters, at least */
};
#define CUT_ALONE (1u << 31) /* in a word's begin: a run of characters that are alone, perhaps after a space */

/* Word i is text[bounds[2 i] .. bounds[2 i + 1]), but for the bit in its begin. An odd number of bounds: a word is open. */
typedef struct {
    uint32_t *bounds;
    size_t n;
} cut_list;

typedef struct {
    uint64_t spaces, letters, digits, high;
} cut_classes;

static inline cut_classes cut_classes_of(const lf_sp *m, const uint8_t *p) {
    cut_classes c = {0, 0, 0, 0};
#if defined(__SSE2__)
#define BELOW(x, n) (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(n - 1)), x))
    for (unsigned i = 0; i < 4; i++) {
        const __m128i v = _mm_loadu_si128((const void *)(p + 16 * i)), lower = _mm_or_si128(v, _mm_set1_epi8(32));
        __m128i space = _mm_setzero_si128();
        for (size_t k = 0; k < m->n_spaces; k++)
            space = _mm_or_si128(space, _mm_cmpeq_epi8(v, _mm_set1_epi8((char)m->spaces[k])));
        c.spaces |= (uint64_t)(uint32_t)_mm_movemask_epi8(space) << 16 * i;
        c.letters |= BELOW(_mm_sub_epi8(lower, _mm_set1_epi8('a')), 26) << 16 * i;
        c.digits |= BELOW(_mm_sub_epi8(v, _mm_set1_epi8('0')), 10) << 16 * i;
        c.high |= (uint64_t)(uint32_t)_mm_movemask_epi8(v) << 16 * i;
    }
#undef BELOW
#else
    for (unsigned i = 0; i < 64; i++) {
        const uint8_t b = p[i];
        c.spaces |= (uint64_t)m->is_space[b] << i;
        c.letters |= (uint64_t)((b | 32) >= 'a' && (b | 32) <= 'z') << i;
        c.digits |= (uint64_t)(b >= '0' && b <= '9') << i;
        c.high |= (uint64_t)(b >= 128) << i;
    }
#endif
    return c;
}

/* A character of the text: what the table tells of it, or INSIDE alone where it is ill-formed. */
typedef struct {
    uint32_t code_point, entry, width;
} cut_character;

static inline cut_character cut_read(const lf_sp *m, const uint8_t *p, const uint8_t *end) {
    cut_character c = {' ', LF_CHARACTER_PLAIN, 0};
    if (p == end) return c;
    c.width = lf_utf8_read(p, end, &c.code_point);
    c.entry = c.code_point == LF_NO_CHARACTER ? LF_CHARACTER_INSIDE : lf_characters_of(&m->characters, c.code_point);
    if (c.code_point < 128) c.code_point = m->to[c.code_point];
    return c;
}

/* Whether the text may be cut between two characters, of which one is beyond ASCII. Neither is plain if what follows it is
 * inside; see characters.h. */
static inline int cut_between(const lf_sp *m, cut_character left, cut_character right) {
    if (!(left.entry & LF_CHARACTER_PLAIN) || right.entry & LF_CHARACTER_INSIDE) return 0;
    if (left.entry & LF_CHARACTER_ALONE) return 1;
    if (!(right.entry & LF_CHARACTER_PLAIN)) return 0;
    if (right.entry & LF_CHARACTER_ALONE) return 1;
    if (left.width == 2 && right.width == 2) return 0; /* letters of an alphabet, which words keep together */
    return !lf_characters_joined(&m->characters, left.code_point, right.code_point);
}

static inline void cut_here(cut_list *cuts, size_t at, uint32_t alone) {
    cuts->bounds[cuts->n] = (uint32_t)at;
    cuts->bounds[cuts->n + 1] = (uint32_t)at | alone;
    cuts->n += 2;
}

/* A short run of characters that are alone, which ends here, is looked up like other words. */
static inline void cut_end_run(cut_list *cuts, size_t at) {
    uint32_t *open = &cuts->bounds[cuts->n - 1];
    if (at - (*open & ~CUT_ALONE) < CUT_RUN) *open &= ~CUT_ALONE;
}

/* Cuts from a byte beyond ASCII, where a word is open, to the next ASCII byte, which may begin a word too. Returns where
 * that is, or where it stopped because there are enough bounds. `spaced` says that the word has only a space yet, or
 * nothing. */
static inline size_t cut_high(const lf_sp *m, const uint8_t *text, size_t n, size_t at, int spaced, cut_list *cuts) {
    const uint8_t *end = text + n;
    const int kept = !m->normalizer.options.remove_extra_whitespaces;
    cut_character left = {0, 0, 1}, here = cut_read(m, text + at, end);
    const uint32_t open = cuts->bounds[cuts->n - 1];
    if (kept && open < at && m->is_space[text[at - 1]]) left.entry = LF_CHARACTER_PLAIN;
    else if (open < at && !spaced) left = cut_read(m, text + at - 1, end);
    uint32_t in_run = 0; /* whether the open word is a run of characters that are alone */
    const int from_space = left.entry && m->is_space[text[at - 1]];
    for (int first = 1;; first = 0) {
        cut_character next = cut_read(m, text + at + here.width, end);
        if (next.entry & LF_CHARACTER_INSIDE) here.entry &= ~(LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE);
        const uint32_t alone = here.entry & LF_CHARACTER_ALONE ? CUT_ALONE : 0;
        if (first && spaced) {
            cuts->bounds[cuts->n - 1] |= alone, in_run = alone;
        } else if ((!first || !from_space || alone) && !(in_run & alone) && cut_between(m, left, here)) {
            if (in_run) cut_end_run(cuts, at);
            cut_here(cuts, at, alone), in_run = alone;
        }
        at += here.width;
        while (in_run && next.entry & LF_CHARACTER_ALONE) { /* most of a long run */
            const cut_character after = cut_read(m, text + at + next.width, end);
            if (after.entry & LF_CHARACTER_INSIDE) break;
            at += next.width;
            here = next, next = after;
        }
        left = here, here = next;
        if (at == n || text[at] < 128 || cuts->n >= CUT_MOST) break;
    }
    if (in_run) cut_end_run(cuts, at);
    if (at == n || text[at] >= 128 || m->is_space[text[at]]) return at;
    if (at + 1 < n && text[at + 1] >= 128 && m->bound_high) here.entry &= ~LF_CHARACTER_PLAIN;
    if (cut_between(m, left, here)) cut_here(cuts, at, 0);
    return at;
}

/* The words of text[at ..), which begins where a word or spaces begin; of `cuts` what there was before is lost. The last
 * word may stay open where there are enough. */
static inline void cut_text(const lf_sp *m, const uint8_t *text, size_t n, size_t at, cut_list *cuts) {
    const int collapse = m->normalizer.options.remove_extra_whitespaces;
    const uint64_t kept = collapse ? 0 : UINT64_MAX;
    /* The classes of the byte before, in bit 0, and whether no cut is to be looked for at the next. */
    uint64_t after_space = 1, after_letter = 0, after_digit = 0, after_cut = 1;
    cuts->n = 0;
    if (!collapse || !m->is_space[text[at]]) cuts->bounds[cuts->n++] = (uint32_t)at, after_space = !collapse;
    while (at < n && cuts->n < CUT_MOST) {
        uint8_t last[64] = {0};
        const size_t left = n - at;
        const uint8_t *p = left < 64 ? memcpy(last, text + at, left) : text + at;
        const cut_classes c = cut_classes_of(m, p);
        uint64_t within = left < 64 ? ((uint64_t)1 << left) - 1 : UINT64_MAX;
        if (c.high) within &= (c.high & -c.high) - 1;
        const uint64_t before_high = c.high >> 1 | (uint64_t)(left > 64 && text[at + 64] >= 128) << 63;
        const uint64_t spaces = c.spaces << 1 | after_space;
        const uint64_t same =
            (c.letters & (c.letters << 1 | after_letter)) | (c.digits & (c.digits << 1 | after_digit));
        const uint64_t pairs = ~(same | c.spaces | spaces | after_cut | (before_high & m->bound_high));
        const uint64_t ends = c.spaces & ~spaces, begins = ~c.spaces & spaces & ~kept;
        for (uint64_t events = (pairs | ends | begins) & within; events; events &= events - 1) {
            const unsigned bit = (unsigned)__builtin_ctzll(events);
            const size_t place = at + bit;
            const uint8_t a = text[place - 1] & 127, b = text[place];
            const uint64_t cut = pairs >> bit & m->cuts[a][b / 64 & 1] >> b % 64, end = (ends & kept) >> bit,
                           one = ((ends & ~kept) | begins) >> bit;
            cuts->bounds[cuts->n] = (uint32_t)(place - (begins >> bit & 1));
            cuts->bounds[cuts->n + 1] = (uint32_t)place;
            cuts->n += 2 * ((cut | end) & 1) + (one & 1);
        }
        after_cut = 0;
        after_space = c.spaces >> 63, after_letter = c.letters >> 63, after_digit = c.digits >> 63;
        const size_t span = (size_t)__builtin_popcountll(within);
        at += span;
        if (at == n || span == 64) continue;
        /* Beyond ASCII. */
        const uint8_t space_before = span ? c.spaces >> (span - 1) & 1 : spaces & 1;
        int spaced = cuts->n % 2 && (cuts->bounds[cuts->n - 1] & ~CUT_ALONE) == at;
        if (collapse && space_before && !spaced) cuts->bounds[cuts->n++] = (uint32_t)at - 1, spaced = 1;
        at = cut_high(m, text, n, at, spaced, cuts);
        after_space = after_letter = after_digit = 0, after_cut = 1;
    }
    if (at >= n && cuts->n % 2) cuts->bounds[cuts->n++] = (uint32_t)n;
}

#endif
