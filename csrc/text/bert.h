/* bert.h - text to ids as BERT does it: normalization, words, the piece cache and WordPiece in one pass.
 *
 *     text -> characters that a normalizer makes of each -> window -> words -> keys -> cache -> ids
 *             glyphs, or 64 bytes of ASCII at a time                          on a miss: wordpiece.h
 *
 * What becomes of a character is nearly always a matter of that character alone: nothing, a space, a few bytes of one
 * kind. These are its glyph, and the glyphs of most characters stand in a table, made once for the options. The rest is
 * hard: a mark that is left after accents are stripped may change places with others. From there to the next boundary
 * of NFD the text goes through normalize.h and rewrite.h, step by step.
 *
 * The normalized text is written to a window of a few kilobytes. Its words are looked up in word_cache.h as pieces are in
 * encode.h: keyed in batches, the lines of the table prefetched, then probed in order.
 *
 * Exactness: BertNormalizer (all options), BertPreTokenizer, Whitespace, WhitespaceSplit, WordPiece and WordLevel of
 * tokenizers 0.23.3. A byte that is not UTF-8 is U+FFFD, which clean_text removes. Complexity: linear in the text.
 * Memory: the cache, the window, and for a hard stretch or a word without bound a buffer of its length.
 * Threads: a workspace belongs to one thread at a time, all else is shared. */
#ifndef LF_TEXT_BERT_H
#define LF_TEXT_BERT_H

#include "lf.h"
#include "text/rewrite.h"
#include "text/steps.h"
#include "text/wordpiece.h"

/* Which stretches between white space are words of their own. */
typedef enum {
    LF_WORDS_BERT,    /* each punctuation mark, and what lies between: BertPreTokenizer   */
    LF_WORDS_CLASSES, /* runs of \w and runs of [^\w\s]: Whitespace                       */
    LF_WORDS_SPACES,  /* all: WhitespaceSplit                                             */
    LF_N_WORD_RULES
} lf_word_rule;

typedef struct {
    int clean, space_ideographs, strip_accents, lowercase; /* the options of BertNormalizer */
    lf_word_rule rule;
} lf_bert_options;

/* What a character of normalized text is to the rule. */
typedef enum {
    LF_GONE,   /* the character is removed                                         */
    LF_SPACED, /* white space                                                      */
    LF_ALONE,  /* a word of its own                                                */
    LF_WORDY,  /* part of a run, that is a word                                    */
    LF_SIGN,   /* the same, of runs of the other sort                              */
    LF_HARD,   /* not a matter of this character alone, or of more than one sort   */
} lf_glyph_kind;

/* What becomes of a character, in one word so that it stays in a register:
 *
 *     | up to six bytes of UTF-8, the first lowest ... | how many (8 bits) | kind (8 bits) | */
typedef uint64_t lf_glyph;

enum { LF_GLYPH_MOST = 6 };

static inline lf_glyph lf_glyph_of(lf_glyph_kind kind, uint64_t bytes, unsigned n_bytes) {
    return bytes | (uint64_t)n_bytes << 48 | (uint64_t)kind << 56;
}
static inline int lf_glyph_kind_of(lf_glyph glyph) { return (int)(glyph >> 56); }
static inline unsigned lf_glyph_n_bytes(lf_glyph glyph) { return glyph >> 48 & 255; }

/* A code point as the bytes of a glyph. */
static inline uint64_t lf_glyph_bytes(uint32_t cp) {
    uint8_t bytes[4] = {0};
    const unsigned n = lf_utf8_write(cp, bytes);
    uint64_t packed = 0;
    for (unsigned i = 0; i < n; i++) packed |= (uint64_t)bytes[i] << 8 * i;
    return packed;
}

enum {
    LF_GLYPHS_LOW = 0x3400,  /* the glyphs of the characters below ...                   */
    LF_GLYPHS_HIGH = 0xFE00, /* ... and of those from here to the end of the plane are kept */
    LF_BERT_STEPS = 5,
    LF_BERT_TRACED_MOST = 0x7FFFFFFF, /* bytes of a text whose places are asked for */
};

typedef struct {
    const lf_wordpiece *model;
    lf_bert_options options;
    lf_glyph glyphs[LF_GLYPHS_LOW + 0x10000 - LF_GLYPHS_HIGH];
    lf_step steps[LF_BERT_STEPS]; /* the same one after another, for places */
    size_t n_steps;
} lf_bert;

/* Makes the glyphs for the options; `model` stays the caller's and must outlive what is made. */
lf_status lf_bert_new(lf_bert **bert, const lf_wordpiece *model, lf_bert_options options);
void lf_bert_free(lf_bert *bert);

/* The kind of a character of normalized text. */
lf_glyph_kind lf_bert_kind(lf_word_rule rule, uint32_t cp);

/* The glyph of any character, without the spaces around ideographs. */
lf_glyph lf_bert_glyph(const lf_bert_options *options, uint32_t cp);

/* Room for the ids of n bytes: stores are 32 bytes wide. */
static inline size_t lf_bert_bound(size_t n) { return n + 8; }

/* The ids of a text and the bytes that each comes from: spans[2 i] to spans[2 i + 1]. Room for lf_bert_bound(n) each.
 * LF_EVALUE: the word at byte *n_ids has no id. */
lf_status lf_bert_trace(const lf_bert *bert, const uint8_t *text, size_t n, uint32_t *ids, int64_t *spans,
                        size_t *n_ids);

typedef struct lf_bert_workspace lf_bert_workspace;

typedef struct {
    lf_isa isa;
    /* A workspace with a cache of at most `cache_bytes` bytes. */
    lf_status (*workspace_new)(lf_bert_workspace **w, const lf_bert *bert, size_t cache_bytes);
    void (*workspace_free)(lf_bert_workspace *w);
    /* The ids of a text, NULL to count them only. LF_EVALUE: some word has no id. */
    lf_status (*encode)(lf_bert_workspace *w, const uint8_t *text, size_t n, uint32_t *ids, size_t *n_ids);
} lf_bert_ops;

/* The functions for an instruction set, NULL where this build has none. */
const lf_bert_ops *lf_bert_ops_for(lf_isa isa);

#endif
