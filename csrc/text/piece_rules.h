/* piece_rules.h - which strings may be pieces of a sentencepiece model, told from the two pieces that they are made of.
 *
 * A piece has at most so many characters; its characters are of one script, where those of no script of their own (inherited)
 * and spaces, which are U+2581, fit all; spaces stand only at one end; a digit may have to be alone. All of this depends on a
 * few facts about each half, so that no string is looked at: which script the first half ends with and the second begins with,
 * and where their spaces are.
 *
 * Source of the rules: IsValidSentencePiece of sentencepiece 0.2.3. */
#ifndef LF_TEXT_PIECE_RULES_H
#define LF_TEXT_PIECE_RULES_H

#include <stdint.h>

enum {
    LF_PIECE_SPACE = 1,        /* has a space                                   */
    LF_PIECE_SPACES = 2,       /* has nothing else                              */
    LF_PIECE_SPACE_FIRST = 4,  /* begins with one                               */
    LF_PIECE_SPACE_LAST = 8,   /* ends with one                                 */
    LF_PIECE_SPACE_LATER = 16, /* has one that is not its first character       */
    LF_PIECE_SPACE_ERE = 32,   /* has one that is not its last character        */
    LF_PIECE_ALONE = 64,       /* is never a part of another one                */
};

enum {
    LF_SCRIPT_ANY = 254,
    LF_SCRIPT_NONE = 255
}; /* fits all and is fitted by all; is that of what stands before it */

typedef struct {
    uint16_t n_characters;
    uint8_t flags;
    uint8_t first, last; /* the first script that is not LF_SCRIPT_NONE, and the last one */
} lf_piece;

typedef struct {
    uint16_t max_characters; /* 0: pieces have no rules */
    uint8_t spaces_within;   /* a space may stand within a piece, but not at the wrong end of it */
    uint8_t spaces_last;     /* spaces belong at the end of a piece instead of at its beginning  */
    uint8_t spaces_alone;    /* pieces of any number of spaces are allowed too                  */
} lf_piece_rules;

static inline lf_piece lf_piece_of(lf_piece a, lf_piece b) {
    const unsigned ends = (a.flags & LF_PIECE_SPACE_FIRST) | (b.flags & LF_PIECE_SPACE_LAST);
    const unsigned inside = (b.flags & LF_PIECE_SPACE ? LF_PIECE_SPACE_LATER : 0u) |
                            (a.flags & LF_PIECE_SPACE ? LF_PIECE_SPACE_ERE : 0u) | (a.flags & LF_PIECE_SPACE_LATER) |
                            (b.flags & LF_PIECE_SPACE_ERE);
    const unsigned either = (a.flags | b.flags) & (LF_PIECE_SPACE | LF_PIECE_ALONE);
    return (lf_piece){
        .n_characters = (uint16_t)(a.n_characters + b.n_characters),
        .flags = (uint8_t)(ends | inside | either | (a.flags & b.flags & LF_PIECE_SPACES)),
        .first = a.first == LF_SCRIPT_NONE ? b.first : a.first,
        .last = b.last == LF_SCRIPT_NONE ? a.last : b.last,
    };
}

/* Whether a and b, each of which may be a piece, may be one together. */
static inline int lf_pieces_join(const lf_piece_rules *rules, lf_piece a, lf_piece b) {
    if ((unsigned)a.n_characters + b.n_characters > rules->max_characters) return 0;
    if (a.last != b.first && a.last < LF_SCRIPT_ANY && b.first < LF_SCRIPT_ANY) return 0;
    const lf_piece both = lf_piece_of(a, b);
    if (both.flags & LF_PIECE_ALONE) return 0;
    if (!(both.flags & LF_PIECE_SPACE) || (rules->spaces_alone && both.flags & LF_PIECE_SPACES)) return 1;
    if (rules->spaces_last) return !(both.flags & (rules->spaces_within ? LF_PIECE_SPACE_FIRST : LF_PIECE_SPACE_ERE));
    return !(both.flags & (rules->spaces_within ? LF_PIECE_SPACE_LAST : LF_PIECE_SPACE_LATER));
}

#endif
