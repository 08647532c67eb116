/* graphemes.h - where extended grapheme clusters end: what a reader takes for one character.
 *
 * The rules of UAX #29 look at two neighbours, but for three that look further back: regional indicators go in pairs, a
 * pictograph joins another through a zero width joiner, and a consonant another through a linker. A run remembers what
 * these need, so a text is cut in one pass with a table of 18 masks. Between two simple characters there is always an end,
 * so nothing before them needs to be known.
 *
 * Exactness: Unicode 17.0, the version of tokenizers 0.23.3 (unicode-segmentation 1.13.3). Written tables:
 * tools/make_grapheme_tables.py. */
#ifndef LF_TEXT_GRAPHEMES_H
#define LF_TEXT_GRAPHEMES_H

#include "lf.h"

typedef enum {
    LF_G_OTHER,
    LF_G_CR,
    LF_G_LF,
    LF_G_CONTROL,
    LF_G_EXTEND,
    LF_G_EXTEND_ALONE, /* an extender that a conjunct does not go across */
    LF_G_LINKER,
    LF_G_ZWJ,
    LF_G_SPACING_MARK,
    LF_G_PREPEND,
    LF_G_L,
    LF_G_V,
    LF_G_T,
    LF_G_LV,
    LF_G_LVT,
    LF_G_REGIONAL,
    LF_G_PICTOGRAPH,
    LF_G_CONSONANT,
} lf_grapheme_class;

extern const uint8_t lf_grapheme_index[0x110000 >> 7], lf_grapheme_blocks[];

/* The class of a code point, cp <= 0x10FFFF. */
static inline lf_grapheme_class lf_grapheme_class_of(uint32_t cp) {
    return (lf_grapheme_class)lf_grapheme_blocks[(size_t)lf_grapheme_index[cp >> 7] << 7 | (cp & 127)];
}

/* Whether a cluster ends between any two characters of such classes. */
static inline int lf_grapheme_is_simple(lf_grapheme_class class) {
    return 1 << class & (1 << LF_G_OTHER | 1 << LF_G_LF | 1 << LF_G_CONTROL | 1 << LF_G_LV | 1 << LF_G_LVT |
                         1 << LF_G_PICTOGRAPH | 1 << LF_G_CONSONANT);
}

/* The characters so far; begins as zeros, where a cluster ends or a text begins. */
typedef struct {
    uint8_t before;   /* the class of the last one ...                                                 */
    uint8_t begun;    /* ... if there is one                                                           */
    uint8_t regional; /* an odd number of regional indicators comes last                               */
    uint8_t emoji;    /* 1: a pictograph and extenders come last, 2: and a zero width joiner behind    */
    uint8_t conjunct; /* 1: a consonant and what a conjunct goes across come last, 2: a linker is there */
} lf_grapheme_run;

/* Whether a cluster ends before the next character, which is noted. */
static inline int lf_grapheme_ends(lf_grapheme_run *run, lf_grapheme_class class) {
#define BIT(name) (1u << LF_G_##name)
    enum { BEHIND = BIT(EXTEND) | BIT(EXTEND_ALONE) | BIT(LINKER) | BIT(ZWJ) | BIT(SPACING_MARK) };
    static const uint32_t JOINS[] = {
        [LF_G_OTHER] = BEHIND,
        [LF_G_CR] = BIT(LF),
        [LF_G_LF] = 0,
        [LF_G_CONTROL] = 0,
        [LF_G_EXTEND] = BEHIND,
        [LF_G_EXTEND_ALONE] = BEHIND,
        [LF_G_LINKER] = BEHIND,
        [LF_G_ZWJ] = BEHIND,
        [LF_G_SPACING_MARK] = BEHIND,
        [LF_G_PREPEND] = ~(BIT(CR) | BIT(LF) | BIT(CONTROL)),
        [LF_G_L] = BEHIND | BIT(L) | BIT(V) | BIT(LV) | BIT(LVT),
        [LF_G_V] = BEHIND | BIT(V) | BIT(T),
        [LF_G_T] = BEHIND | BIT(T),
        [LF_G_LV] = BEHIND | BIT(V) | BIT(T),
        [LF_G_LVT] = BEHIND | BIT(T),
        [LF_G_REGIONAL] = BEHIND,
        [LF_G_PICTOGRAPH] = BEHIND,
        [LF_G_CONSONANT] = BEHIND,
    };
#undef BIT
    const int joins = (JOINS[run->before] >> class & 1) || (class == LF_G_REGIONAL && run->regional) ||
                      (class == LF_G_PICTOGRAPH && run->emoji == 2) || (class == LF_G_CONSONANT && run->conjunct == 2);
    const int ends = run->begun && !joins;
    const int extends = class == LF_G_EXTEND || class == LF_G_EXTEND_ALONE || class == LF_G_LINKER;
    run->regional = class == LF_G_REGIONAL && !run->regional;
    if (class == LF_G_PICTOGRAPH) run->emoji = 1;
    else if (class == LF_G_ZWJ && run->emoji == 1) run->emoji = 2;
    else if (!extends || run->emoji == 2) run->emoji = 0;
    if (class == LF_G_CONSONANT) run->conjunct = 1;
    else if (class == LF_G_LINKER && run->conjunct) run->conjunct = 2;
    else if (class != LF_G_EXTEND && class != LF_G_ZWJ) run->conjunct = 0;
    run->before = (uint8_t)class;
    run->begun = 1;
    return ends;
}

#endif
