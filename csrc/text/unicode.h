/* unicode.h - what a character is: a byte of classes and a byte of traits per code point, its lowercase, and what
 * normalization needs.
 *
 * Two-stage tables: index[cp >> 7] names one of a few hundred distinct blocks of 128 classes, 38 KB in all. They are
 * written by tools/make_unicode_tables.py.
 *
 * Exactness: the classes are those of Unicode 16.0. An exhaustive scan (tests/text/test_unicode.py) shows that tiktoken
 * 0.14.0 (its regular expressions) and tokenizers 0.23.3 (Split, ByteLevel, and the \w and \s of its added tokens) all
 * have exactly these \p{L}, \p{Lu}, \p{Lt}, \p{Ll}, \p{Lm}, \p{Lo}, \p{M}, \p{N} and \s, so one version serves both.
 * They differ in \w only: LF_WORD is that of Rust's regex crate (tiktoken, and tokenizers' single_word), while the
 * Oniguruma behind tokenizers' Split adds U+00B2 U+00B3 U+00B9 U+00BC..BE and leaves out U+200C U+200D. */
#ifndef LF_TEXT_UNICODE_H
#define LF_TEXT_UNICODE_H

#include "lf.h"

/* Bits of a class byte. At most one of the first six is set; LF_WORD comes with some of them. */
enum {
    LF_UPPER = 1,        /* \p{Lu} \p{Lt}                                                         */
    LF_LOWER = 2,        /* \p{Ll}                                                                */
    LF_OTHER_LETTER = 4, /* \p{Lm} \p{Lo}                                                         */
    LF_MARK = 8,         /* \p{M}                                                                 */
    LF_NUMBER = 16,      /* \p{N}                                                                 */
    LF_SPACE = 32,       /* \s: White_Space, 25 characters                                        */
    LF_WORD = 64,        /* \w: Alphabetic, \p{M}, \p{Nd}, \p{Pc} and Join_Control, as in UTS #18 */
    LF_LETTER = LF_UPPER | LF_LOWER | LF_OTHER_LETTER,
};

/* One version of the Unicode character database. */
typedef struct {
    int major;
    const uint8_t *index; /* 0x110000 >> 7 numbers of blocks    */
    const uint8_t *class; /* the distinct blocks of 128 classes */
} lf_unicode;

/* The tables of a version (16), or NULL where this build has none. */
const lf_unicode *lf_unicode_for(int major);

/* The classes of a code point, cp <= 0x10FFFF; 0 for what is in none of them. */
static inline unsigned lf_class_of(const lf_unicode *u, uint32_t cp) {
    return u->class[(size_t)u->index[cp >> 7] << 7 | (cp & 127)];
}

/* Traits: what the parts of tokenizers 0.23.3 that bring Unicode tables of their own see in a character. The versions
 * were found by asking it about every scalar value. */
enum {
    LF_PUNCTUATION_8 = 1, /* P of Unicode 8.0, and all ASCII punctuation: BertPreTokenizer, Punctuation */
    LF_OTHER_8 = 2,       /* Cc Cf Co of 8.0: what BertNormalizer cleans away                           */
    LF_NONSPACING_8 = 4,  /* Mn of 8.0: the accents of BertNormalizer                                   */
    LF_MARK_9 = 8,        /* M of 9.0: the accents of StripAccents                                      */
    LF_NUMERIC_17 = 16,   /* N of 17.0: Digits                                                          */
    LF_CASED_17 = 32,     /* its lowercase in 17.0 is not itself                                        */
    LF_LOWER_LIMIT = 0x1E980,
};

extern const uint8_t lf_trait_index[0x110000 >> 7], lf_trait_blocks[];
extern const uint8_t lf_lower_index[LF_LOWER_LIMIT >> 6], lf_lower_blocks[];
extern const int32_t lf_lower_deltas[];

/* The traits of any 32-bit value; what is no code point has none. */
static inline unsigned lf_traits_of(uint32_t cp) {
    return cp < 0x110000 ? lf_trait_blocks[(size_t)lf_trait_index[cp >> 7] << 7 | (cp & 127)] : 0;
}

/* The lowercase of any 32-bit value by Unicode 17.0. That of U+0130 has a second character, U+0307. */
static inline uint32_t lf_lower_of(uint32_t cp) {
    if (cp >= LF_LOWER_LIMIT) return cp;
    return cp + (uint32_t)lf_lower_deltas[lf_lower_blocks[(size_t)lf_lower_index[cp >> 6] << 6 | (cp & 63)]];
}

/* Normalization, read by normalize.c: the data of Unicode 9.0 (what tokenizers 0.23.3 has; characters of later versions
 * are starters that neither decompose nor compose). Hangul syllables are arithmetic and not in the tables. */
typedef enum { LF_NFC, LF_NFD, LF_NFKC, LF_NFKD } lf_form;

enum { LF_FORM_LIMIT = 0x30000 }; /* from here on every character is plain */

typedef struct {
    uint8_t ccc;      /* canonical combining class                                               */
    uint8_t flags;    /* see lf_unsure and lf_joins; 0 for a starter that no form changes        */
    uint8_t n_full;   /* its full canonical decomposition: lf_form_full[full_at ..], 0 = itself  */
    uint8_t n_compat; /* its full compatibility decomposition, 0 = the canonical one             */
    uint8_t n_pairs;  /* its compositions: lf_form_pairs[pairs_at ..], by increasing second      */
    uint16_t full_at, compat_at, pairs_at;
} lf_form_entry;

typedef struct {
    uint32_t second, composite;
} lf_form_pair;

extern const uint8_t lf_form_index[LF_FORM_LIMIT >> 6];
extern const uint16_t lf_form_entry_number[];
extern const lf_form_entry lf_form_entries[]; /* [0] is the plain one with nothing */
extern const uint32_t lf_form_full[];
extern const lf_form_pair lf_form_pairs[];

/* The entry of any 32-bit value; what is no code point is plain. */
static inline const lf_form_entry *lf_form_entry_of(uint32_t cp) {
    return &lf_form_entries[cp < LF_FORM_LIMIT ? lf_form_entry_number[lf_form_index[cp >> 6] << 6 | (cp & 63)] : 0];
}

/* Whether the quick check of a form says No or Maybe. */
static inline int lf_unsure(const lf_form_entry *e, lf_form form) { return e->flags >> form & 1; }

/* Whether it may reorder or compose with what precedes: no text may be cut in front of it. */
static inline int lf_joins(const lf_form_entry *e, lf_form form) { return e->flags >> (form + 4) & 1; }

#endif
