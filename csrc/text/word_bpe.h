/* word_bpe.h - BPE over characters as tokenizers has it: one word to ids by a list of merges, with all its options.
 *
 * Merging begins with the characters, each looked up with `prefix` before all but the first and `suffix` behind the last
 * ("lo" + "w</w>"). One without a token becomes the tokens of its bytes, or the unknown one, or nothing. Then the merge that
 * is first in the list is made, of equals the leftmost, until there is none. Behind a ByteLevel the characters are bytes.
 *
 * A heap has the pairs that could merge. As in that library an entry is still good if what it would make is what the pair
 * that stands there now makes, be it another pair.
 *
 * Exactness: tokenizers 0.23.3. Time: n log n in the characters of a word. */
#ifndef LF_TEXT_WORD_BPE_H
#define LF_TEXT_WORD_BPE_H

#include "lf.h"
#include "text/double_array.h"

#define LF_WORD_NO_ID 0xFFFFFFFFu

/* What a model is made of. */
typedef struct {
    const uint32_t *symbols; /* pairs: code point << 2 | is first << 1 | is last, and the id */
    size_t n_symbols;
    const uint32_t *merges; /* left, right, and what they make, in order; of a pair given twice the last one counts */
    size_t n_merges;
    const uint32_t *fallback; /* 256 ids, LF_WORD_NO_ID where a byte has none; NULL: characters do not become bytes */
    const uint8_t *prefix, *suffix;
    size_t n_prefix, n_suffix;
    uint32_t n_ids, unknown_id; /* LF_WORD_NO_ID: an unknown character becomes nothing */
    int fuse_unknown;           /* neighbouring unknown characters are one */
    int by_bytes;               /* characters are bytes */
    /* Words that are tokens, whatever the merges say: token i is blob[offsets[i] .. offsets[i + 1]). */
    const uint8_t *blob;
    const int64_t *offsets;
    const uint32_t *ids;
    size_t n_whole;
} lf_word_parts;

typedef struct lf_word_bpe lf_word_bpe;

/* The arrays stay the caller's and are needed no more but for prefix, suffix and fallback. LF_EVALUE: too much of something. */
lf_status lf_word_bpe_new(lf_word_bpe **m, const lf_word_parts *parts);
void lf_word_bpe_free(lf_word_bpe *m);

/* Ids for each byte of a word, at most. */
size_t lf_word_bpe_growth(const lf_word_bpe *m);

/* What one thread needs; begins as zeros, grows with use. After encoding `ids` has the ids and `lengths` how many bytes of
 * the word each stands for. */
typedef struct {
    uint32_t *ids, *lengths;
    void *nodes, *heap;
    size_t room_ids, room_lengths, room_nodes, room_heap, n_heap;
} lf_word_scratch;

/* Gives the memory of a scratch back; it is as at its begin. */
void lf_word_scratch_free(lf_word_scratch *scratch);

/* Room for n ids. */
lf_status lf_word_scratch_reserve(lf_word_scratch *scratch, size_t n);

/* A word of 0 < n < 2^30 bytes of well-formed UTF-8 (any bytes where by_bytes). */
lf_status lf_word_bpe_encode(const lf_word_bpe *m, const uint8_t *word, size_t n, lf_word_scratch *scratch,
                             size_t *n_ids);

#endif
