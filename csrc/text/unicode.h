/* unicode.h - what a character is: one byte of classes per code point, and what normalization needs.
 *
 * A two-stage table: index[cp >> 7] names one of a few hundred distinct blocks of 128 classes, 38 KB in all. The tables
 * are written by tools/make_unicode_tables.py.
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

/* Normalization form C, read by normalize.c: the data of Unicode 9.0 (what tokenizers 0.23.3 has; characters of later
 * versions are starters that neither decompose nor compose). Hangul syllables are arithmetic and not in the tables. */
enum {
    LF_NFC_UNSURE = 1,      /* NFC_Quick_Check is No or Maybe                                                  */
    LF_NFC_JOINS = 2,       /* it may reorder or compose with what precedes: no text may be cut in front of it */
    LF_NFC_LIMIT = 0x30000, /* from here on every character is plain                                           */
};

typedef struct {
    uint8_t ccc;     /* canonical combining class                                             */
    uint8_t flags;   /* LF_NFC_*; 0 for a plain character: a starter that is NFC as it stands */
    uint8_t n_full;  /* its full canonical decomposition: lf_nfc_full[full_at ..], 0 = itself */
    uint8_t n_pairs; /* its compositions: lf_nfc_pairs[pairs_at ..], by increasing second     */
    uint16_t full_at;
    uint16_t pairs_at;
} lf_nfc_entry;

typedef struct {
    uint32_t second, composite;
} lf_nfc_pair;

extern const uint8_t lf_nfc_index[LF_NFC_LIMIT >> 6];
extern const uint16_t lf_nfc_entry_number[];
extern const lf_nfc_entry lf_nfc_entries[]; /* [0] is the plain one with nothing */
extern const uint32_t lf_nfc_full[];
extern const lf_nfc_pair lf_nfc_pairs[];

/* The entry of any 32-bit value; what is no code point is plain. */
static inline const lf_nfc_entry *lf_nfc_entry_of(uint32_t cp) {
    return &lf_nfc_entries[cp < LF_NFC_LIMIT ? lf_nfc_entry_number[lf_nfc_index[cp >> 6] << 6 | (cp & 63)] : 0];
}

#endif
