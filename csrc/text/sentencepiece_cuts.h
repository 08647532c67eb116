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
    __m128i v[4], space[4];
    for (unsigned i = 0; i < 4; i++) v[i] = _mm_loadu_si128((const void *)(p + 16 * i)), space[i] = _mm_setzero_si128();
    for (size_t k = 0; k < m->n_spaces; k++) {
        const __m128i here = _mm_set1_epi8((char)m->spaces[k]);
        for (unsigned i = 0; i < 4; i++) space[i] = _mm_or_si128(space[i], _mm_cmpeq_epi8(v[i], here));
    }
    for (unsigned i = 0; i < 4; i++) {
        const __m128i lower = _mm_or_si128(v[i], _mm_set1_epi8(32));
        c.spaces |= (uint64_t)(uint32_t)_mm_movemask_epi8(space[i]) << 16 * i;
        c.letters |= BELOW(_mm_sub_epi8(lower, _mm_set1_epi8('a')), 26) << 16 * i;
        c.digits |= BELOW(_mm_sub_epi8(v[i], _mm_set1_epi8('0')), 10) << 16 * i;
        c.high |= (uint64_t)(uint32_t)_mm_movemask_epi8(v[i]) << 16 * i;
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

static inline cut_character cut_read_rare(const lf_sp *m, const uint8_t *p, const uint8_t *end) {
    cut_character c = {0, LF_CHARACTER_INSIDE, 0};
    c.width = lf_utf8_read(p, end, &c.code_point);
    if (c.code_point != LF_NO_CHARACTER) c.entry = lf_characters_of(&m->characters, c.code_point);
    return c;
}

/* Most characters are told by tables that are small enough for the first-level cache. */
static inline cut_character cut_read(const lf_sp *m, const uint8_t *p, const uint8_t *end) {
    const uint8_t a = p < end ? p[0] : ' ', b = end - p > 1 ? p[1] ^ 0x80 : 0xFF, c = end - p > 2 ? p[2] ^ 0x80 : 0xFF;
    if (p == end) return (cut_character){' ', LF_CHARACTER_PLAIN, 0};
    if (a < 0x80) return (cut_character){m->to[a], m->ascii[a], 1};
    if ((a & 0xE0) == 0xC0 && b < 64) {
        const uint32_t code_point = (a & 31u) << 6 | b;
        if (m->letters_2[a & 31] >> b & 1) return (cut_character){code_point, LF_CHARACTER_PLAIN, 2};
        if (m->alone_2[a & 31] >> b & 1) return (cut_character){code_point, LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE, 2};
    } else if ((a & 0xF0) == 0xE0 && (b | c) < 64 && m->alone_3[(a & 15u) << 6 | b] >> c & 1) {
        return (cut_character){0, LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE, 3}; /* whose number nobody wants to know */
    }
    return cut_read_rare(m, p, end);
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

/* What a character beyond ASCII is, if that can be told at once: a letter of two bytes, or one of 2 to 4 bytes that is alone.
 * 0: anything else, or there are only a few bytes left. */
enum { CUT_LETTER = 1 };

static inline unsigned cut_kind(const lf_sp *m, const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) return 0;
    const unsigned a = p[0], b = p[1] ^ 0x80u, c = p[2] ^ 0x80u;
    if ((a & 0xE0) == 0xC0 && b < 64) return (m->letters_2[a & 31] >> b & 1) | (m->alone_2[a & 31] >> b & 1) << 1;
    if ((a & 0xF0) == 0xE0 && (b | c) < 64) return m->alone_3[(a & 15) << 6 | b] >> c & 1 ? 3 : 0;
    return a >= 0xF0 && cut_read_rare(m, p, end).entry / LF_CHARACTER_ALONE & 1 ? 4 : 0;
}

/* The bytes of a character of two or three that is alone, 0 where there is none. Three bytes may be read. */
static inline unsigned cut_alone_at(const lf_sp *m, const uint8_t *p) {
    if (p[0] >= 0xE0 && p[0] < 0xF0) {
        const uint64_t page = m->alone_3[(p[0] & 15u) << 6 | (p[1] & 63u)];
        return ((p[1] ^ 0x80u) | (p[2] ^ 0x80u)) < 64 && page >> (p[2] & 63) & 1 ? 3 : 0;
    }
    if (p[0] >= 0xC0 && p[0] < 0xE0) return (p[1] ^ 0x80u) < 64 && m->alone_2[p[0] & 31] >> (p[1] & 63) & 1 ? 2 : 0;
    return 0;
}

/* Where the characters from p on that are all alone end, but for a few bytes at the end of the text; *last is the width of
 * the last of them, 0 if there is none. */
static inline const uint8_t *cut_skip_alone(const lf_sp *m, const uint8_t *p, const uint8_t *end, unsigned *last) {
    for (unsigned width; end - p >= 3 && (width = cut_alone_at(m, p)); p += width) *last = width;
    return p;
}

static inline int cut_letter_at(const lf_sp *m, const uint8_t *p) {
    return (p[0] & 0xE0) == 0xC0 && (p[1] ^ 0x80u) < 64 && m->letters_2[p[0] & 31] >> (p[1] & 63) & 1;
}

/* The same of letters of two bytes. */
static inline const uint8_t *cut_skip_letters(const lf_sp *m, const uint8_t *p, const uint8_t *end, unsigned *last) {
    for (; end - p >= 2 && cut_letter_at(m, p); p += 2) *last = 2;
    return p;
}

/* Whether some rule has what follows a character behind it. `kind` is that of what follows. */
static inline int cut_goes_on(const lf_sp *m, const uint8_t *p, const uint8_t *end, unsigned kind) {
    if (kind || p == end) return 0;
    return ((*p < 128 ? m->ascii[*p] : cut_read_rare(m, p, end).entry) & LF_CHARACTER_INSIDE) != 0;
}

/* Cuts from a byte beyond ASCII, where a word is open, to the next ASCII byte, which may begin a word too. Returns where
 * that is, or where it stopped because there are enough bounds. `begun` says that the word has only a space yet, or
 * nothing. */
static inline size_t cut_high(const lf_sp *m, const uint8_t *text, size_t n, size_t at, int begun, cut_list *cuts) {
    const uint8_t *end = text + n, *p = text + at;
    cut_character left = {0, 0, 1}; /* the character before p */
    int spaced = 0;                 /* it is a space, which a word of letters begins with */
    if (!begun && (cuts->bounds[cuts->n - 1] & ~CUT_ALONE) < at) {
        spaced = !m->normalizer.options.remove_extra_whitespaces && m->is_space[p[-1]];
        left = spaced ? (cut_character){' ', LF_CHARACTER_PLAIN, 1} : cut_read(m, p - 1, end);
    }
    unsigned kind = cut_kind(m, p, end);
    do {
        cut_character here;
        unsigned width = 0;
        const uint8_t *stop = kind == CUT_LETTER ? cut_skip_letters(m, p, end, &width)
                              : kind ? cut_skip_alone(m, p, end, &width)
                                     : p; /* where a run of letters, or of characters that are alone, ends */
        unsigned next = stop > p ? cut_kind(m, stop, end) : 0;
        if (cut_goes_on(m, stop, end, next)) stop -= width, next = 0;
        const size_t place = (size_t)(p - text);
        if (stop > p) {
            const int alone = kind != CUT_LETTER;
            here = (cut_character){0, LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE, 3};
            if (!alone) here = (cut_character){(p[0] & 31u) << 6 | (p[1] & 63u), LF_CHARACTER_PLAIN, 2};
            if (!begun && (!spaced || alone) && cut_between(m, left, here)) cut_here(cuts, place, 0);
            uint32_t *open = &cuts->bounds[cuts->n - 1];
            begun |= *open == place;
            if (alone && !begun) stop = p + kind, next = cut_kind(m, stop, end); /* a cut behind the first of them */
            if (alone && begun && (size_t)(stop - text) - *open >= CUT_RUN) *open |= CUT_ALONE;
            if (!alone) here.code_point = (stop[-2] & 31u) << 6 | (stop[-1] & 63u);
            p = stop;
        } else {
            here = cut_read(m, p, end);
            if (cut_read(m, p + here.width, end).entry & LF_CHARACTER_INSIDE)
                here.entry &= ~(LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE);
            if (!begun && (!spaced || here.entry & LF_CHARACTER_ALONE) && cut_between(m, left, here))
                cut_here(cuts, place, 0);
            p += here.width, next = cut_kind(m, p, end);
        }
        left = here, kind = next, begun = spaced = 0;
    } while (p < end && *p >= 128 && cuts->n < CUT_MOST);
    at = (size_t)(p - text);
    if (p == end || *p >= 128 || m->is_space[*p]) return at;
    cut_character right = cut_read(m, p, end);
    if (end - p > 1 && p[1] >= 128 && m->bound_high) right.entry &= ~LF_CHARACTER_PLAIN;
    if (cut_between(m, left, right)) cut_here(cuts, at, 0);
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
        const size_t block = at, left = n - at;
        const uint8_t *p = left < 64 ? memcpy(last, text + at, left) : text + at;
        const cut_classes c = cut_classes_of(m, p);
        const uint64_t before_high = c.high >> 1 | (uint64_t)(left > 64 && text[at + 64] >= 128) << 63;
        const uint64_t spaces = c.spaces << 1 | after_space;
        const uint64_t same =
            (c.letters & (c.letters << 1 | after_letter)) | (c.digits & (c.digits << 1 | after_digit));
        uint64_t pairs = ~(same | c.spaces | spaces | after_cut | (before_high & m->bound_high));
        uint64_t rest = left < 64 ? ((uint64_t)1 << left) - 1 : UINT64_MAX; /* what is not cut yet */
        /* A word ends where spaces begin and another begins with the last of them, which is mostly the same one. */
        const uint64_t words = ~c.spaces & spaces & ~kept & rest, ends = c.spaces & ~spaces,
                       both = ends & (kept | words >> 1), begins = words & ~(both << 1);
        after_cut = 0;
        after_space = c.spaces >> 63, after_letter = c.letters >> 63, after_digit = c.digits >> 63;
        for (;;) {
            const uint64_t high = c.high & rest, ascii = rest & (high ? (high & -high) - 1 : UINT64_MAX);
            const uint64_t one = ((ends & ~both) | begins) & ascii; /* where a word ends or begins, and not both */
            uint64_t cut = both & ascii;
            for (uint64_t some = pairs & ascii; some; some &= some - 1) {
                const unsigned bit = (unsigned)__builtin_ctzll(some);
                const uint8_t a = text[block + bit - 1] & 127, b = text[block + bit];
                cut |= (m->cuts[a][b / 64 & 1] >> b % 64 & 1) << bit;
            }
            uint32_t *to = cuts->bounds + cuts->n;
            for (uint64_t events = cut | one; events; events &= events - 1) {
                const unsigned bit = (unsigned)__builtin_ctzll(events);
                const uint32_t place = (uint32_t)(block + bit);
                to[0] = place, to[1] = place, to += 2;
                if (LF_LIKELY(!one)) continue;
                to[-2] -= begins >> bit & 1;
                to -= one >> bit & 1;
            }
            cuts->n = (size_t)(to - cuts->bounds);
            if (!high) {
                at = block + (left < 64 ? left : 64);
                break;
            }
            /* Beyond ASCII, which ends in this block or not. */
            at = block + (unsigned)__builtin_ctzll(high);
            const int spaced = collapse && spaces >> (at - block) & 1;
            if (spaced && cuts->n % 2 == 0) cuts->bounds[cuts->n++] = (uint32_t)at - 1;
            at = cut_high(m, text, n, at, spaced || (cuts->n % 2 && cuts->bounds[cuts->n - 1] == at), cuts);
            if (at >= n || at - block >= 64 || cuts->n >= CUT_MOST) {
                after_space = after_letter = after_digit = 0, after_cut = 1;
                break;
            }
            rest &= UINT64_MAX << (at - block);
            pairs &= ~((uint64_t)1 << (at - block)); /* cut_high looked there */
        }
    }
    if (at >= n && cuts->n % 2) cuts->bounds[cuts->n++] = (uint32_t)n;
}

#endif
