/* precompiled.h - sentencepiece's map of characters as tokenizers applies it: by grapheme clusters.
 *
 * A cluster of fewer than 6 bytes for which there is a rule is replaced as a whole; else each of its characters for which
 * there is one. A rule is for what begins with it: the shortest one counts, and what follows it in the cluster goes too.
 *
 * Nearly all characters are simple (graphemes.h) and have simple neighbours, so they are clusters of their own, and a
 * table of a byte a character says whether one stays as it is. Only a stretch around a character that joins others is cut
 * into clusters: from the simple character before it to the next two simple ones side by side.
 *
 * Exactness: tokenizers 0.23.3 (spm_precompiled 0.1.4), with places. Time and memory: linear. */
#ifndef LF_TEXT_PRECOMPILED_H
#define LF_TEXT_PRECOMPILED_H

#include "lf.h"
#include "text/aligned.h"
#include "text/charsmap.h"

typedef struct {
    lf_charsmap *map;
    int printable;          /* the characters from space to ~ stay as they are */
    uint8_t kinds[0x10000]; /* by code point */
    /* By all bytes but the last of a character, a bit for each that may not stay as it is, or is none. */
    uint64_t odd_twos[32], odd_threes[0x10000 / 64];
    /* First bytes side by side, the first of them and how many more, behind which all characters stay as they are. */
    uint8_t plain_two, plain_twos, plain_three, plain_threes;
    uint8_t bytes[128]; /* what an ASCII character becomes where that is one, too, and it joins no other; else 0 */
} lf_precompiled;

/* For each character of a text that was written how many characters of the old one it stands for, less one; -1: none, it
 * was put in. Begins as zeros. */
typedef struct {
    int64_t *counts;
    size_t n, room;
} lf_changes;

/* Room for n counts in all. Returns 0 if there is no memory. */
static inline int lf_changes_reserve(lf_changes *changes, size_t n) {
    if (LF_LIKELY(n <= changes->room)) return 1;
    const size_t room = n + n / 2 + 64;
    int64_t *counts = realloc(changes->counts, room * sizeof *counts);
    if (!counts) return 0;
    changes->counts = counts, changes->room = room;
    return 1;
}

static inline void lf_changes_free(lf_changes *changes) {
    free(changes->counts);
    *changes = (lf_changes){0};
}

/* Reads a map. LF_EVALUE: it is damaged, *where is the offset in the blob; or replacements are not UTF-8, 0. */
lf_status lf_precompiled_new(lf_precompiled **z, const uint8_t *blob, size_t n, size_t *where);
void lf_precompiled_free(lf_precompiled *z);

/* The whole text, which replaces what `out` holds. LF_EVALUE: it is not UTF-8. */
lf_status lf_precompiled_apply(const lf_precompiled *z, const lf_aligned *text, lf_aligned *out, lf_changes *changes);

#endif
