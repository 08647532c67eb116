/* characters.h - what a model of sentencepiece's kind knows of each character: whether a text may be cut beside it.
 *
 * One number a character, found by its code point in two steps:
 *
 *     index[code point / 64] -> page;  entries[64 page + code point % 64] = flags (4 bits) | id of the lone character (28)
 *
 *   plain    no rule of the map of characters begins with it and ends behind it, none has it further on
 *   alone    plain, and in no piece of several characters: nothing joins with it, on neither side
 *   inside   some rule has it behind other characters (or it is a marker, or nobody knows): no cut before it
 *   known    it is a piece on its own, `id`
 *
 * And a bit for two characters, by hash: they are side by side in some piece.
 *
 * A rule that goes over two characters has the second one inside, so between a character and one that is not inside
 * normalization falls apart; and a plain character before one that is not inside stays as it is. Memory: 35 KB, 64 KB for
 * the pairs and 256 bytes for each page with something to tell. */
#ifndef LF_TEXT_CHARACTERS_H
#define LF_TEXT_CHARACTERS_H

#include "lf.h"
#include "text/charsmap.h"
#include "text/utf8.h"

#define LF_CHARACTER_ID ((1u << 28) - 1)
#define LF_CHARACTER_PLAIN (1u << 28)
#define LF_CHARACTER_ALONE (1u << 29)
#define LF_CHARACTER_INSIDE (1u << 30)
#define LF_CHARACTER_KNOWN (1u << 31)

enum { LF_CHARACTER_PAGE = 64, LF_CHARACTER_PAGES = 0x110000 / LF_CHARACTER_PAGE, LF_JOINED_BITS = 19 };

typedef struct {
    uint16_t *index;
    uint32_t *entries;
    size_t n_pages, room;
    uint8_t *joined;
} lf_characters;

/* A table in which all characters are plain, alone and unknown but for what the rules of a map say (NULL: none). */
lf_status lf_characters_new(lf_characters *table, const lf_charsmap *map);
void lf_characters_free(lf_characters *table);

/* The place of an entry, to be changed; NULL where there is no memory. */
uint32_t *lf_characters_at(lf_characters *table, uint32_t code_point);

/* Notes a piece that text can become; `known` says that it stands for itself if it is one character. */
lf_status lf_characters_note(lf_characters *table, const uint8_t *piece, size_t n, uint32_t id, int known);

/* The entry of a code point, which is below 0x110000. */
static inline uint32_t lf_characters_of(const lf_characters *table, uint32_t code_point) {
    return table->entries[(size_t)table->index[code_point / LF_CHARACTER_PAGE] * LF_CHARACTER_PAGE +
                          code_point % LF_CHARACTER_PAGE];
}

static inline uint32_t lf_characters_bit(uint32_t left, uint32_t right) {
    return (uint32_t)((((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u) >> (64 - LF_JOINED_BITS));
}

/* Whether some piece has two characters side by side; now and then yes where none has. */
static inline int lf_characters_joined(const lf_characters *table, uint32_t left, uint32_t right) {
    const uint32_t bit = lf_characters_bit(left, right);
    return table->joined[bit / 8] >> bit % 8 & 1;
}

#endif
