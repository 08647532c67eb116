/* wordpiece.h - one word to ids: the longest token that begins it, then the longest that goes on, and so on.
 *
 * A trie holds all tokens. A token that goes on is written with a prefix ("##"), so the walk for it begins at the node
 * where the prefix ends. A word of which some part has no token, or of too many characters, is unknown as a whole.
 *
 * Exactness: WordPiece and WordLevel of tokenizers 0.23.3. Complexity: the bytes of the word times those of the longest
 * token. Memory: the trie. Source: Schuster and Nakajima, Japanese and Korean voice search, 2012. */
#ifndef LF_TEXT_WORDPIECE_H
#define LF_TEXT_WORDPIECE_H

#include "lf.h"
#include "text/double_array.h"

typedef struct {
    lf_double_array tokens; /* values are ids                                          */
    uint64_t continuing;    /* where tokens that go on begin ...                       */
    int continues;          /* ... if there are any                                    */
    uint32_t unk_id;        /* LF_UNIT_NONE: a word may have no ids                    */
    uint32_t n_ids;         /* ids are below it                                        */
    size_t max_chars;       /* a word of more characters is unknown                    */
    int whole;              /* only whole words are tokens: WordLevel                  */
} lf_wordpiece;

/* Token i is blob[offsets[i] .. offsets[i + 1]) with ids[i] < LF_UNIT_NONE. */
lf_status lf_wordpiece_new(lf_wordpiece **model, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                           size_t n_tokens, const uint8_t *prefix, size_t n_prefix, uint32_t unk_id, size_t max_chars,
                           int whole);
void lf_wordpiece_free(lf_wordpiece *model);

/* The ids of a word of n > 0 bytes, at most n; where `lengths` is given, how many bytes of the word each stands for.
 * Returns how many; 0 if the word is unknown and there is no id for that. */
size_t lf_wordpiece_encode(const lf_wordpiece *model, const uint8_t *word, size_t n, uint32_t *ids, uint32_t *lengths);

#endif
