/* rewrite.h - normalizers that look at one character at a time: cleaning, lowercase, accents, spaces.
 *
 * Exactness: the normalizers of tokenizers 0.23.3 with the versions of Unicode that their parts have (unicode.h). A byte
 * that is not UTF-8 stays as it is. Alignment: as in normalize.h; what is left stands for its own place, what is added
 * for the place of its neighbour. Complexity: linear. Memory: only the output. */
#ifndef LF_TEXT_REWRITE_H
#define LF_TEXT_REWRITE_H

#include "lf.h"
#include "text/unicode.h"
#include "text/utf8.h"

typedef enum {
    LF_LOWERCASE,        /* each character's lowercase (no final sigma: it takes a look at the neighbours)       */
    LF_STRIP_ACCENTS,    /* without marks: StripAccents                                                          */
    LF_STRIP_NONSPACING, /* without nonspacing marks: what BertNormalizer does after NFD                         */
    LF_CLEAN,            /* without NUL, U+FFFD, control, format and private use; white space becomes spaces     */
    LF_SPACE_IDEOGRAPHS, /* a space on each side of an ideograph                                                 */
    LF_NMT,              /* the control characters and spaces of Google's neural machine translation             */
    LF_N_REWRITES
} lf_rewriting;

/* Whether BertNormalizer takes it for an ideograph: the CJK blocks that Unicode had then. */
static inline int lf_is_ideograph(uint32_t cp) {
    if (cp < 0x3400) return 0;
    return (cp >= 0x4E00 && cp <= 0x9FFF) || cp <= 0x4DBF || (cp >= 0xF900 && cp <= 0xFAFF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
           (cp >= 0x2F800 && cp <= 0x2FA1F);
}

/* White_Space. */
static inline int lf_is_space(uint32_t cp) { return cp < 0x110000 && lf_class_of(lf_unicode_for(16), cp) & LF_SPACE; }

/* Whether LF_CLEAN takes a character out. */
static inline int lf_is_dirt(uint32_t cp) {
    if (cp == '\t' || cp == '\n' || cp == '\r') return 0;
    return cp == 0 || cp == 0xFFFD || lf_traits_of(cp) & LF_OTHER_8;
}

/* What a character becomes: at most three, in to[]; returns how many. */
unsigned lf_rewritten(lf_rewriting rewriting, uint32_t cp, uint32_t *to);

/* The bytes that lf_rewrite may write for n bytes. */
static inline size_t lf_rewrite_bound(size_t n) { return 2 * n; }

/* Rewrites text[0 .. n) to out, which has room for lf_rewrite_bound(n) bytes and does not overlap text; returns its
 * length. `from`: NULL, or which byte of the input each byte written stands for. */
size_t lf_rewrite(lf_rewriting rewriting, const uint8_t *restrict text, size_t n, uint8_t *restrict out,
                  int64_t *restrict from);

/* text[*start .. *stop) without white space at the left or at the right end. */
void lf_strip(const uint8_t *text, size_t *start, size_t *stop, int left, int right);

#endif
