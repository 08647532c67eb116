/* charsmap.h - sentencepiece's precompiled map of characters: the longest rule that a text begins with.
 *
 *     the blob:  size of the trie in bytes (4, little endian) | trie | strings, each ended by NUL
 *     the trie:  a double array of 4-byte units, children of a unit at (unit's place ^ offset) ^ byte
 *     unit = offset (22) | offset is in blocks of 256 (1) | a string ends here (1) | byte (8)      of a node
 *     unit = 1 | place in the strings (31)                                                          of a leaf
 *
 * A map comes from a file, so it is checked whole before it is used: no offset leaves the array, as sentencepiece 0.2.3
 * demands (darts.h, validate), and besides that no rule is longer than LF_CHARSMAP_LONGEST bytes, which refuses a trie
 * that goes in circles, and no replacement longer than LF_CHARSMAP_MOST, so that time and memory are linear in the text.
 *
 * Exactness: the rule and the replacement that sentencepiece 0.2.3 finds (normalizer.cc, NormalizePrefix): of the first 32
 * rules on the way the longest. */
#ifndef LF_TEXT_CHARSMAP_H
#define LF_TEXT_CHARSMAP_H

#include "lf.h"

enum { LF_CHARSMAP_LONGEST = 1024, LF_CHARSMAP_MOST = 4096 };

typedef struct {
    uint32_t *units;
    uint8_t *strings; /* ends with NUL */
    size_t n_units, n_strings;
    uint8_t begins[256]; /* some rule begins with this byte      */
    uint8_t inside[256]; /* some rule has this byte further on   */
    uint8_t longer[256]; /* some rule longer than one byte begins with this byte */
    size_t growth;       /* bytes of a replacement for each byte of its rule, at most (rounded up) ... */
    size_t characters;   /* ... and characters */
    int well_formed;     /* all replacements are UTF-8 */
} lf_charsmap;

/* Reads a map. LF_EVALUE: it is damaged; *where is the offset in the blob. */
lf_status lf_charsmap_new(lf_charsmap **map, const uint8_t *blob, size_t n, size_t *where);
void lf_charsmap_free(lf_charsmap *map);

/* The bytes of the longest rule that a text begins with, 0 if none does; its replacement. */
static inline size_t lf_charsmap_match(const lf_charsmap *map, const uint8_t *p, size_t n, const uint8_t **to) {
    enum { RULES_MOST = 32 };
    const uint32_t *units = map->units;
    size_t longest = 0, at = 0, n_rules = 0;
    uint32_t unit = units[0];
    for (size_t i = 0; i < n; i++) {
        at ^= (unit >> 10) << ((unit & 512) >> 6) ^ p[i];
        unit = units[at];
        if ((unit & 0x800000FFu) != p[i]) break;
        if (unit & 256) {
            *to = map->strings + (units[at ^ (unit >> 10) << ((unit & 512) >> 6)] & 0x7FFFFFFFu);
            longest = i + 1;
            if (++n_rules == RULES_MOST) break;
        }
    }
    return longest;
}

/* The replacement of the shortest rule that a text begins with, NULL if none does: what tokenizers takes. */
static inline const uint8_t *lf_charsmap_first(const lf_charsmap *map, const uint8_t *p, size_t n) {
    const uint32_t *units = map->units;
    size_t at = 0;
    uint32_t unit = units[0];
    for (size_t i = 0; i < n && p[i]; i++) {
        at ^= (unit >> 10) << ((unit & 512) >> 6) ^ p[i];
        unit = units[at];
        if ((unit & 0x800000FFu) != p[i]) break;
        if (unit & 256) return map->strings + (units[at ^ (unit >> 10) << ((unit & 512) >> 6)] & 0x7FFFFFFFu);
    }
    return NULL;
}

#endif
