/* bpe.c - building the model and merging one piece; see bpe.h.
 *
 * Three ways to merge, all exact. Up to 32 bytes: an array of pair ranks, its minimum found by looking at all of it.
 * Longer: a heap of pairs, or, once there has been much of it, backtracking, which never merges at all but needs a trie of
 * the vocabulary. An odd token inside: always the heap. */
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "text/pages.h"
#include "text/utf8.h"

enum { SHORT = 32 };

static inline uint64_t mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Tokens of up to ROLLED bytes are hashed so that the hash of a part follows from those of two beginnings (see
 * list_cuts): a number to the base of ROLL, and then its bits mixed. */
enum { ROLLED = 128 };
#define ROLL 0x9E3779B97F4A7C15u

static inline uint64_t rolled(uint64_t h, uint8_t byte) { return h * ROLL + byte + 1; }

static inline uint64_t mixed(uint64_t h) {
    h = (h ^ h >> 32) * 0xC2B2AE3D27D4EB4Fu;
    return h ^ h >> 32;
}

static uint64_t hash_bytes(const uint8_t *p, size_t n) {
    uint64_t h = 0, a, b = 0;
    if (n <= ROLLED) {
        for (size_t i = 0; i < n; i++) h = rolled(h, p[i]);
        return mixed(h);
    }
    for (h = 0x243F6A8885A308D3u ^ n; n >= 16; p += 16, n -= 16) {
        memcpy(&a, p, 8), memcpy(&b, p + 8, 8);
        h = mix(h ^ a, 0x9E3779B97F4A7C15u ^ b);
    }
    a = b = 0;
    memcpy(&a, p, n < 8 ? n : 8);
    if (n > 8) memcpy(&b, p + 8, n - 8);
    return mix(h ^ a, 0xC2B2AE3D27D4EB4Fu ^ b);
}

static inline uint64_t read_8(const uint8_t *p) {
    uint64_t v;
    return memcpy(&v, p, 8), v;
}

static inline size_t token_length(const lf_bpe *m, uint32_t t) { return (size_t)(m->offsets[t + 1] - m->offsets[t]); }
static inline const uint8_t *token_bytes(const lf_bpe *m, uint32_t t) { return m->blob + m->offsets[t]; }

/* The slot of a token: where it is, or the free one where it would be. The hash is kept in the slot's upper half, so that
 * other tokens' bytes are hardly ever looked at. */
static uint64_t *token_slot(const lf_bpe *m, const uint8_t *bytes, size_t n, uint64_t hash) {
    const size_t mask = ((size_t)1 << m->token_bits) - 1;
    for (size_t at = (size_t)hash & mask;; at = (at + 1) & mask) {
        uint64_t *slot = &m->token_slots[at];
        if (!*slot) return slot;
        const uint32_t t = (uint32_t)*slot - 1;
        if (*slot >> 32 == hash >> 32 && token_length(m, t) == n && !memcmp(token_bytes(m, t), bytes, n)) return slot;
    }
}

static inline int never_in_utf8(uint8_t byte) { return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5; }

size_t lf_bpe_unknown_byte(const lf_bpe *m, const uint8_t *text, size_t n) {
    size_t at = n;
    for (size_t i = 0; m->lacks_bytes && at == n && i < n; i++)
        if (never_in_utf8(text[i]) && lf_bpe_find(m, text + i, 1) == LF_NO_SYMBOL) at = i;
    return at;
}

uint32_t lf_bpe_find(const lf_bpe *m, const uint8_t *bytes, size_t n) {
    if (n == 0 || n > m->longest) return LF_NO_SYMBOL;
    return (uint32_t)*token_slot(m, bytes, n, hash_bytes(bytes, n)) - 1; /* 0 - 1 is LF_NO_SYMBOL */
}

/* Merging with symbols. */

/* Merges the symbols of at most SHORT bytes in place; returns how many are left. rank[i] is the symbol that symbols i
 * and i + 1 form. */
static unsigned merge_short(const lf_bpe *m, const uint8_t *piece, unsigned n, uint32_t *symbol) {
    uint32_t rank[SHORT + 1];
    for (unsigned i = 0; i < n; i++) symbol[i] = piece[i];
    for (unsigned i = 0; i + 1 < n; i++) rank[i] = m->byte_pairs[piece[i] | piece[i + 1] << 8];
    while (n > 1) {
        uint32_t best = rank[0];
        unsigned at = 0;
        for (unsigned i = 1; i < n - 1; i++)
            if (rank[i] < best) best = rank[i], at = i;
        if (best == LF_NO_SYMBOL) break;
        symbol[at] = best;
        n--;
        memmove(symbol + at + 1, symbol + at + 2, (n - at - 1) * sizeof *symbol);
        memmove(rank + at, rank + at + 1, (n - at - 1) * sizeof *rank);
        if (at + 1 < n) rank[at] = lf_pairs_find(&m->pairs, best, symbol[at + 1]);
        if (at) rank[at - 1] = lf_pairs_find(&m->pairs, symbol[at - 1], best);
    }
    return n;
}

/* Merging with a heap, for any rules.
 *
 * Symbols stand in a linked list of places: the symbol at place i covers bytes [i, next[i]). A heap holds candidates;
 * one whose rank is no longer the rank of its place is stale and skipped. Each symbol is pushed at most three times:
 * once at the start, twice by merges. Time n log n. */
typedef struct {
    uint32_t rank, at;
} candidate;

typedef struct {
    const lf_bpe *model;
    const uint8_t *piece;
    uint32_t n;
    candidate *heap; /* 3 * n */
    size_t n_heap;
    uint32_t *symbol, *next, *previous, *rank; /* n each */
    uint32_t last_left, last_right;            /* the two symbols of the last merge */
    const struct merge_list *list;             /* for rank_by_list */
} heap_merge;

/* The rank of the pair at places i and j, LF_NO_SYMBOL if it does not merge; and what a merge of that rank makes. */
typedef uint32_t rank_function(const heap_merge *h, uint32_t i, uint32_t j);
typedef uint32_t made_function(const heap_merge *h, uint32_t rank);

static size_t heap_bytes(size_t n) { return n * (4 * sizeof(uint32_t) + 3 * sizeof(candidate)); }

static heap_merge heap_in(const lf_bpe *m, const uint8_t *piece, size_t n, void *scratch) {
    heap_merge h = {.model = m, .piece = piece, .n = (uint32_t)n, .heap = scratch};
    h.symbol = (uint32_t *)(h.heap + 3 * n);
    h.next = h.symbol + n;
    h.previous = h.next + n;
    h.rank = h.previous + n;
    return h;
}

static inline int before(candidate a, candidate b) { return a.rank != b.rank ? a.rank < b.rank : a.at < b.at; }

static void push(heap_merge *h, candidate c) {
    size_t i = h->n_heap++;
    for (; i && before(c, h->heap[(i - 1) / 2]); i = (i - 1) / 2) h->heap[i] = h->heap[(i - 1) / 2];
    h->heap[i] = c;
}

static candidate pop(heap_merge *h) {
    const candidate top = h->heap[0], last = h->heap[--h->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < h->n_heap; child = 2 * i + 1) {
        if (child + 1 < h->n_heap && before(h->heap[child + 1], h->heap[child])) child++;
        if (!before(h->heap[child], last)) break;
        h->heap[i] = h->heap[child], i = child;
    }
    h->heap[i] = last;
    return top;
}

static inline void rank_place(heap_merge *h, uint32_t i, rank_function *rank_of) {
    h->rank[i] = h->next[i] < h->n ? rank_of(h, i, h->next[i]) : LF_NO_SYMBOL;
    if (h->rank[i] != LF_NO_SYMBOL) push(h, (candidate){h->rank[i], i});
}

/* Merges h->symbol[0..n), which the caller has set. What remains stands at places 0, next[0], ... up to n. */
static inline void run_heap(heap_merge *h, rank_function *rank_of, made_function *made_by) {
    for (uint32_t i = 0; i < h->n; i++) h->next[i] = i + 1, h->previous[i] = i - 1;
    for (uint32_t i = 0; i < h->n; i++) rank_place(h, i, rank_of);
    while (h->n_heap) {
        const candidate c = pop(h);
        if (h->rank[c.at] != c.rank) continue;
        const uint32_t i = c.at, j = h->next[i];
        h->last_left = h->symbol[i], h->last_right = h->symbol[j];
        h->symbol[i] = made_by(h, c.rank);
        h->rank[j] = LF_NO_SYMBOL;
        h->next[i] = h->next[j];
        if (h->next[i] < h->n) h->previous[h->next[i]] = i;
        rank_place(h, i, rank_of);
        if (i) rank_place(h, h->previous[i], rank_of);
    }
}

static uint32_t rank_by_pair(const heap_merge *h, uint32_t i, uint32_t j) {
    return lf_pairs_find(&h->model->pairs, h->symbol[i], h->symbol[j]);
}

static uint32_t itself(const heap_merge *h, uint32_t rank) {
    (void)h;
    return rank;
}

/* Merges with the pairs of the model into `symbols`; returns how many. */
static size_t merge_with_heap(const lf_bpe *m, const uint8_t *piece, size_t n, uint32_t *symbols, void *scratch) {
    heap_merge h = heap_in(m, piece, n, scratch);
    for (size_t i = 0; i < n; i++) h.symbol[i] = piece[i];
    run_heap(&h, rank_by_pair, itself);
    size_t n_symbols = 0;
    for (uint32_t i = 0; i < h.n; i = h.next[i]) symbols[n_symbols++] = h.symbol[i];
    return n_symbols;
}

/* Backtracking.
 *
 * A sequence of symbols is what merging gives if and only if every two neighbours are: merging the bytes of both gives
 * these two back. (Merges on either side of a boundary do not see each other until one crosses it.) So instead of
 * merging, take the longest symbol that the rest of the text begins with, and shorter ones when it does not go with
 * its predecessor; when none goes, undo the predecessor. A bit for each place remembers dead ends, so the work is
 * linear in n times the length of the longest symbol. Source: the corollaries of the `bpe` crate's README. */

/* Whether merging the bytes of two symbols gives the two back. Time runs backwards: the weakest merge on either side is
 * undone first, and a merge across the boundary must never have been stronger than the next one that did happen. Of
 * equal ranks the leftmost goes first: a merge inside the left symbol beats one across, which beats one inside the
 * right. */
static int stay_apart(const lf_bpe *m, uint32_t a, uint32_t b) {
    uint32_t limit = LF_NO_SYMBOL; /* a merge across must be at least this weak */
    for (;;) {
        const uint32_t across = lf_pairs_find(&m->pairs, a, b);
        if (across < limit) return 0;
        if (a < 256 && b < 256) return 1;
        if (a > b) limit = a, a = m->right[a];
        else limit = b + 1, b = m->left[b];
    }
}

static uint32_t longest_symbol(const lf_trie *trie, const uint8_t *p, const uint8_t *end) {
    uint32_t node = 0, found = *p;
    while (p < end && (node = lf_trie_child(trie, node, *p++)))
        if (trie->values[node] != LF_TRIE_NONE) found = trie->values[node];
    return found;
}

static void prefixes_free(lf_bpe_prefixes *prefixes) {
    if (!prefixes) return;
    lf_trie_free(&prefixes->trie);
    free(prefixes->shorter);
    free(prefixes);
}

/* NULL if there is no memory, or the vocabulary is too large for a trie. */
static lf_bpe_prefixes *prefixes_new(const lf_bpe *m) {
    size_t n_bytes = 0;
    for (uint32_t s = 0; s < m->n_symbols; s++) n_bytes += m->symbol_lengths[s];
    lf_bpe_prefixes *made = calloc(1, sizeof *made);
    uint32_t *nodes = malloc(m->n_symbols * sizeof *nodes);
    if (!made || !nodes || !(made->shorter = malloc(m->n_symbols * sizeof *made->shorter)) ||
        lf_trie_new(&made->trie, n_bytes) != LF_OK)
        return free(nodes), prefixes_free(made), NULL;
    lf_trie *trie = &made->trie;
    for (uint32_t s = 0; s < m->n_symbols; s++)
        if (m->symbol_lengths[s]) {
            nodes[s] = lf_trie_insert(trie, token_bytes(m, m->symbol_tokens[s]), m->symbol_lengths[s]);
            trie->values[nodes[s]] = s;
        }
    for (uint32_t s = 0; s < m->n_symbols; s++) {
        made->shorter[s] = LF_NO_SYMBOL;
        for (uint32_t node = m->symbol_lengths[s] ? trie->parents[nodes[s]] : 0; node; node = trie->parents[node])
            if (trie->values[node] != LF_TRIE_NONE) {
                made->shorter[s] = trie->values[node];
                break;
            }
    }
    free(nodes);
    return made;
}

/* The prefixes of the model, made if nobody has yet; NULL where they cannot be. Two threads may make them at once: the first
 * to finish is heard. */
static const lf_bpe_prefixes *prefixes_of(const lf_bpe *m) {
    lf_bpe_prefixes *prefixes = __atomic_load_n(m->prefixes, __ATOMIC_ACQUIRE), *made;
    if (prefixes || !(made = prefixes_new(m))) return prefixes;
    if (__atomic_compare_exchange_n(m->prefixes, &prefixes, made, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return made;
    prefixes_free(made);
    return prefixes;
}

/* stay_apart, which remembers. */
static inline int fits(const lf_bpe *m, uint64_t *memo, uint32_t a, uint32_t b) {
    const uint64_t pair = ((uint64_t)a << 21 | b) << 2;
    uint64_t *slot = &memo[pair * 0x9E3779B97F4A7C15u >> 54];
    if ((*slot | 1) != (pair | 3)) *slot = pair | 2 | (uint64_t)stay_apart(m, a, b);
    return *slot & 1;
}

static size_t merge_by_backtracking(const lf_bpe *m, const lf_bpe_prefixes *prefixes, const uint8_t *piece, size_t n,
                                    uint32_t *stack, uint8_t *dead, uint64_t *memo) {
    memset(dead, 0, n / 8 + 1);
    size_t n_stack = 0, at = 0;
    while (at < n) {
        uint32_t symbol = longest_symbol(&prefixes->trie, piece + at, piece + n);
        for (;;) {
            const size_t stop = at + m->symbol_lengths[symbol];
            if (!(dead[stop / 8] >> stop % 8 & 1) && (!n_stack || fits(m, memo, stack[n_stack - 1], symbol))) {
                stack[n_stack++] = symbol;
                at = stop;
                break;
            }
            while ((symbol = prefixes->shorter[symbol]) == LF_NO_SYMBOL) {
                if (n_stack == 0) return 0; /* never: merging has an answer, and it is among those tried */
                dead[at / 8] |= (uint8_t)(1u << at % 8);
                symbol = stack[--n_stack];
                at -= m->symbol_lengths[symbol];
            }
        }
    }
    return n_stack;
}

static int contains_odd(const lf_bpe *m, const uint8_t *piece, size_t n) {
    for (size_t at = 0; m->n_odd && at + 1 < n; at++) {
        if (!(m->odd_first_two[piece[at] << 5 | piece[at + 1] >> 3] >> (piece[at + 1] & 7) & 1)) continue;
        uint32_t node = 0;
        for (size_t i = at; i < n && (node = lf_trie_child(&m->odd, node, piece[i])); i++)
            if (m->odd.values[node] != LF_TRIE_NONE) return 1;
    }
    return 0;
}

/* Bytes of long pieces after which the prefixes are worth making: by then heaps have taken about as long as that takes. */
static size_t enough_long(const lf_bpe *m) { return (size_t)m->offsets[m->n_tokens] / 8; }

static void *buffer_of(lf_bpe_scratch *scratch, size_t n) {
    if (n > scratch->n_buffer) {
        free(scratch->buffer);
        scratch->buffer = malloc(n);
        scratch->n_buffer = scratch->buffer ? n : 0;
    }
    return scratch->buffer;
}

size_t lf_bpe_merge(const lf_bpe *m, const uint8_t *piece, size_t n, uint32_t *ids, lf_bpe_scratch *scratch) {
    uint32_t few[SHORT], *symbols = n <= SHORT ? few : ids;
    size_t n_ids;
    if (n <= SHORT) {
        n_ids = merge_short(m, piece, (unsigned)n, symbols);
    } else {
        scratch->n_long += scratch->n_long < enough_long(m) ? n : 0;
        const int backtrack = scratch->n_long >= enough_long(m) && !contains_odd(m, piece, n);
        const lf_bpe_prefixes *prefixes = backtrack ? prefixes_of(m) : NULL;
        if (!prefixes && n >= UINT32_MAX) return 0;
        void *buffer = buffer_of(scratch, prefixes ? n / 8 + 1 : heap_bytes(n));
        if (!buffer) return 0;
        n_ids = prefixes ? merge_by_backtracking(m, prefixes, piece, n, symbols, buffer, scratch->memo)
                         : merge_with_heap(m, piece, n, symbols, buffer);
    }
    for (size_t i = 0; i < n_ids; i++) ids[i] = m->symbol_ids[symbols[i]];
    return n_ids;
}

/* Cuts. */

static inline uint32_t read_upto_4(const uint8_t *p, size_t n) {
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) v |= (uint32_t)p[i] << 8 * i;
    return v;
}

/* The bytes of the character at p < end as a number, the first one lowest; returns how many, as lf_utf8_read has it. */
static inline unsigned read_character(const uint8_t *p, const uint8_t *end, uint32_t *bytes) {
    if (LF_LIKELY(end - p >= 4)) { /* most in one load: E0 and ED have second bytes that are not allowed */
        memcpy(bytes, p, 4);
        if ((*bytes & 0xC0C0F0) == 0x8080E0 && *p != 0xE0 && *p != 0xED) return *bytes &= 0xFFFFFF, 3u;
    }
    uint32_t c;
    const unsigned length = lf_utf8_read(p, end, &c);
    return *bytes = read_upto_4(p, length), length;
}

static inline size_t byte_pair_bit(const uint8_t *text, size_t at) {
    return lf_bpe_byte_pair_bit(text[at - 1], text[at]);
}

/* Whether a text may be cut at `at`, between two characters whose bytes are given. */
static inline unsigned is_cut(const lf_bpe *m, const uint8_t *text, size_t at, uint32_t before, uint32_t after) {
    return lf_bpe_is_cut(m, before, after, text[at - 1], text[at]);
}

size_t lf_bpe_next_cut(const lf_bpe *m, const uint8_t *text, size_t n, size_t from) {
    uint32_t before, after;
    for (size_t at = from + read_character(text + from, text + n, &before); at < n; before = after) {
        const unsigned length = read_character(text + at, text + n, &after);
        if (is_cut(m, text, at, before, after)) return at;
        at += length;
    }
    return n;
}

size_t lf_bpe_cuts(const lf_bpe *m, const uint8_t *text, size_t n, uint32_t base, uint32_t *cuts) {
    uint32_t before, after;
    size_t n_cuts = 0;
    for (size_t at = read_character(text, text + n, &before); at < n; before = after) {
        const unsigned length = read_character(text + at, text + n, &after);
        cuts[n_cuts] = base + (uint32_t)at; /* no branch: nobody can guess where the cuts are */
        n_cuts += is_cut(m, text, at, before, after);
        at += length;
    }
    return n_cuts;
}

static void set_bit(uint8_t *bits, size_t bit) { bits[bit / 8] |= (uint8_t)(1u << bit % 8); }

/* Sets a bit for every two neighbours inside a token; `ascii` has a byte for two ASCII characters, whose bits
 * note_joined_ascii sets. */
static void note_joined(lf_bpe *m, uint8_t (*ascii)[128], const uint8_t *token, size_t n) {
    uint32_t before = 0, after;
    int before_whole = 0, whole;
    for (size_t at = 0, length; at < n; at += length, before = after, before_whole = whole) {
        if (token[at] < 0x80) length = 1, after = token[at];
        else length = read_character(token + at, token + n, &after);
        whole = length > 1 || after < 0x80;
        /* A byte that is ill-formed alone may be the edge of a character in a text, and then the text's character is
         * not the one the token shows: only the bytes are certain. */
        if (at && !(whole && before_whole)) set_bit(m->joined_bytes, byte_pair_bit(token, at));
        else if (at && before < 0x80 && after < 0x80) ascii[before][after] = 1;
        else if (at) set_bit(m->joined_characters, lf_bpe_cut_bit(before, after));
        for (size_t i = 1; i < length; i++) set_bit(m->joined_bytes, byte_pair_bit(token, at + i));
    }
}

static void note_joined_ascii(lf_bpe *m, uint8_t (*ascii)[128]) {
    for (uint32_t before = 0; before < 128; before++)
        for (uint32_t after = 0; after < 128; after++)
            if (ascii[before][after]) set_bit(m->joined_characters, lf_bpe_cut_bit(before, after));
}

/* Building.
 *
 * Tokens are taken in order of rank. Merging the bytes of token t with the stronger merges alone shows whether its merge
 * (a, b) is the one it forms from: in the full process too, nothing weaker than it can come before it as long as a
 * stronger one is left. Two symbols left, and they are a and b: yes. Two others, or one: no. More than two: a weaker
 * merge may come first, as no trained vocabulary has it, and the full process decides, with all merges from the
 * start.
 *
 * Two symbols are what is left if and only if they stay apart, and seeing that takes less than merging. So the two of a
 * merge list are asked about first, and in a rank file all that t can be cut into: a filter by hash tells which cuts
 * give tokens, and what is known of them is fetched for a batch of tokens before the first of them is asked about. */
typedef struct merge_list {
    const uint32_t *pairs; /* two token numbers a merge */
    const uint32_t *made;  /* the token each makes */
    uint32_t *slots;       /* hash table: merge number + 1 */
    unsigned bits;
} merge_list;

enum {
    KNOWN_BITS = 2, /* as many bits of the filter by hash as tokens have slots, times four */
    BATCH = 64,     /* tokens whose cuts are listed before the first of them is asked about */
    MOST_ASKED = 4, /* cuts of a token that are asked about before it is merged             */
};

typedef struct {
    lf_bpe *model;
    merge_list list;             /* of a merge list; list.pairs is NULL for a rank file */
    uint32_t *token_symbols;     /* per token; LF_NO_SYMBOL while it has none                              */
    uint32_t *lefts, *rights;    /* per symbol: the tokens that it forms from                              */
    uint32_t *symbols;           /* scratch: the symbols of one token */
    void *scratch;               /* for merge_with_heap of the longest token */
    uint64_t powers[ROLLED + 1]; /* of ROLL */
    uint8_t *known;              /* 1 << (token_bits + KNOWN_BITS) bits, by the hash of a token                    */
    int out_of_order;            /* a merge has been met whose parts form later: the quick test no longer tells */
    int odd;                     /* a token has been met that is out of order: stay_apart no longer tells       */
} builder;

static uint32_t *list_slot(const merge_list *list, uint32_t a, uint32_t b) {
    const size_t mask = ((size_t)1 << list->bits) - 1;
    const uint64_t key = (uint64_t)a << 32 | b;
    for (size_t at = (size_t)(mix(key, 0x9E3779B97F4A7C15u) >> (64 - list->bits));; at = (at + 1) & mask) {
        uint32_t *slot = &list->slots[at];
        if (!*slot || (list->pairs[2 * (*slot - 1)] == a && list->pairs[2 * (*slot - 1) + 1] == b)) return slot;
    }
}

/* The full process: symbols are token numbers. A rank file's rank is the number of the token made. */
static uint32_t rank_by_bytes(const heap_merge *h, uint32_t i, uint32_t j) {
    return lf_bpe_find(h->model, h->piece + i, h->next[j] - i);
}

static uint32_t rank_by_list(const heap_merge *h, uint32_t i, uint32_t j) {
    return *list_slot(h->list, h->symbol[i], h->symbol[j]) - 1; /* 0 - 1 is LF_NO_SYMBOL */
}

static uint32_t made_by_list(const heap_merge *h, uint32_t rank) { return h->list->made[rank]; }

/* Whether the full process on token t ends in t, and the pair of tokens it merges last. */
static int forms(const builder *b, uint32_t t, uint32_t *left, uint32_t *right) {
    const lf_bpe *m = b->model;
    const size_t n = token_length(m, t);
    heap_merge h = heap_in(m, token_bytes(m, t), n, b->scratch);
    h.list = &b->list;
    for (size_t i = 0; i < n; i++) h.symbol[i] = lf_bpe_find(m, h.piece + i, 1);
    if (b->list.pairs) run_heap(&h, rank_by_list, made_by_list);
    else run_heap(&h, rank_by_bytes, itself);
    *left = h.last_left, *right = h.last_right;
    return h.next[0] == h.n;
}

static void add_pair(lf_bpe *m, uint32_t left, uint32_t right, uint32_t symbol) {
    lf_pairs_put(&m->pairs, left, right, symbol);
    m->left[symbol] = left, m->right[symbol] = right;
    if (left < 256 && right < 256) m->byte_pairs[left | right << 8] = symbol;
}

/* Decides whether merge number `symbol` - 256, which makes token t, is the one that t forms from. A merge list names the
 * merge's tokens a and c; a rank file allows any. `apart`: a and c are known to stay apart. */
static void take_merge(builder *b, uint32_t symbol, uint32_t t, uint32_t a, uint32_t c, int apart) {
    lf_bpe *m = b->model;
    uint32_t left = a, right = c;
    size_t n_left = apart ? 2 : 3;
    if (!apart && !b->out_of_order) {
        const uint8_t *bytes = token_bytes(m, t);
        const size_t n = token_length(m, t);
        n_left = n <= SHORT ? merge_short(m, bytes, (unsigned)n, b->symbols)
                            : merge_with_heap(m, bytes, n, b->symbols, b->scratch);
        if (n_left == 2) left = b->model->symbol_tokens[b->symbols[0]], right = b->model->symbol_tokens[b->symbols[1]];
    }
    if (n_left == 1 || (n_left > 2 && !forms(b, t, &left, &right))) return;
    if (b->list.pairs && (left != a || right != c)) return;
    b->model->symbol_tokens[symbol] = t;
    b->lefts[symbol] = left, b->rights[symbol] = right;
    if (b->list.pairs) b->token_symbols[t] = symbol;
    const uint32_t left_symbol = b->token_symbols[left], right_symbol = b->token_symbols[right];
    /* In a merge list a part may have no symbol yet. Until it has, the quick test would miss this merge. */
    if (left_symbol == LF_NO_SYMBOL || right_symbol == LF_NO_SYMBOL) b->out_of_order = 1;
    if (!b->out_of_order) add_pair(m, left_symbol, right_symbol, symbol);
    b->odd |= left_symbol > symbol || right_symbol > symbol;
}

/* Merges of a list. */

static void take_list(builder *b, const uint32_t *made, size_t n_merges) {
    for (uint32_t i = 0; i < n_merges; i++) {
        const uint32_t a = b->list.pairs[2 * i], c = b->list.pairs[2 * i + 1];
        if (*list_slot(&b->list, a, c) != i + 1) continue;
        const uint32_t left = b->token_symbols[a], right = b->token_symbols[c];
        const int apart =
            !b->out_of_order && left != LF_NO_SYMBOL && right != LF_NO_SYMBOL && stay_apart(b->model, left, right);
        take_merge(b, 256 + i, made[i], a, c, apart);
    }
}

/* Merges of a rank file: the merge of token t has the symbol 256 + t. */

typedef struct {
    uint64_t left, right;                      /* the hashes of both parts ...                          */
    uint32_t left_symbol, right_symbol, later; /* ... then their symbols, and the larger of the two      */
    uint32_t at;                               /* bytes in the left part                                 */
} cut;

static size_t known_bit(const builder *b, uint64_t hash) {
    return (size_t)(hash >> (64 - KNOWN_BITS - b->model->token_bits));
}

static unsigned is_known(const builder *b, uint64_t hash) {
    const size_t bit = known_bit(b, hash);
    return b->known[bit / 8] >> bit % 8 & 1;
}

/* Lists the cuts of a token that may give two tokens; returns how many. */
static size_t list_cuts(const builder *b, uint32_t t, cut *cuts) {
    const lf_bpe *m = b->model;
    const size_t n = token_length(m, t), mask = ((size_t)1 << m->token_bits) - 1;
    const uint8_t *p = token_bytes(m, t);
    if (n > ROLLED) return 0;
    uint64_t begin[ROLLED + 1];
    begin[0] = 0;
    for (size_t i = 0; i < n; i++) begin[i + 1] = rolled(begin[i], p[i]);
    size_t n_cuts = 0;
    for (size_t i = 1; i < n; i++) {
        const uint64_t left = mixed(begin[i]), right = mixed(begin[n] - begin[i] * b->powers[n - i]);
        cuts[n_cuts].left = left, cuts[n_cuts].right = right, cuts[n_cuts].at = (uint32_t)i;
        n_cuts += is_known(b, left) & is_known(b, right);
    }
    for (size_t i = 0; i < n_cuts; i++) {
        __builtin_prefetch(&m->token_slots[cuts[i].left & mask]);
        __builtin_prefetch(&m->token_slots[cuts[i].right & mask]);
    }
    return n_cuts;
}

/* The symbol of the token that probably has this hash. */
static uint32_t symbol_by_hash(const builder *b, uint64_t hash) {
    const lf_bpe *m = b->model;
    const size_t mask = ((size_t)1 << m->token_bits) - 1;
    for (size_t at = (size_t)hash & mask; m->token_slots[at]; at = (at + 1) & mask)
        if (m->token_slots[at] >> 32 == hash >> 32) return b->token_symbols[(uint32_t)m->token_slots[at] - 1];
    return LF_NO_SYMBOL;
}

/* What is_pair will read is fetched. */
static void find_symbols(const builder *b, cut *c) {
    const lf_bpe *m = b->model;
    c->left_symbol = symbol_by_hash(b, c->left), c->right_symbol = symbol_by_hash(b, c->right);
    c->later = c->left_symbol > c->right_symbol ? c->left_symbol : c->right_symbol;
    if (c->later == LF_NO_SYMBOL) return;
    const uint64_t hash = lf_pair_hash(lf_pair_key(c->left_symbol, c->right_symbol));
    __builtin_prefetch(&m->pairs.slots[lf_pair_home(&m->pairs, hash)], 1);
    __builtin_prefetch(&m->right[c->left_symbol]);
    __builtin_prefetch(&m->left[c->right_symbol]);
}

/* The first n of 8 bytes. */
static uint64_t first_of(uint64_t bytes, size_t n) { return n < 8 ? bytes & ~(~(uint64_t)0 << 8 * n) : bytes; }

/* Whether token t has these bytes, which lie in the blob too. */
static int is_token(const lf_bpe *m, uint32_t t, const uint8_t *bytes, size_t n) {
    const uint8_t *token = token_bytes(m, t), *end = m->blob + m->offsets[m->n_tokens];
    if (token_length(m, t) != n) return 0;
    if (n > 16 || end - token < 16 || end - bytes < 16) return !memcmp(token, bytes, n);
    const uint64_t one = read_8(token) ^ read_8(bytes), two = read_8(token + 8) ^ read_8(bytes + 8);
    return (first_of(one, n) | (n > 8 ? first_of(two, n - 8) : 0)) == 0;
}

/* Whether a cut of token t gives two tokens that have formed and stay apart. */
static int is_pair(const builder *b, uint32_t t, const cut *c) {
    const lf_bpe *m = b->model;
    const uint32_t left = m->symbol_tokens[c->left_symbol], right = m->symbol_tokens[c->right_symbol];
    return left != LF_NO_SYMBOL && right != LF_NO_SYMBOL && stay_apart(m, c->left_symbol, c->right_symbol) &&
           is_token(m, left, token_bytes(m, t), c->at) &&
           is_token(m, right, token_bytes(m, t) + c->at, token_length(m, t) - c->at);
}

/* Puts the cut whose parts are both earliest before the others. */
static void best_first(cut *cuts, size_t n) {
    size_t best = 0;
    for (size_t k = 1; k < n; k++)
        if (cuts[k].later < cuts[best].later) best = k;
    const cut c = cuts[best];
    cuts[best] = cuts[0], cuts[0] = c;
}

/* The cut that token t forms from, if it is among those that are asked about; else NULL. In trained vocabularies the first
 * one is it nine times in ten. */
static const cut *find_pair(const builder *b, uint32_t t, cut *cuts, size_t n) {
    for (size_t i = 0; i < n && i < MOST_ASKED && !b->odd; i++) {
        best_first(cuts + i, n - i);
        if (cuts[i].later == LF_NO_SYMBOL) break;
        if (is_pair(b, t, &cuts[i])) return &cuts[i];
    }
    return NULL;
}

static void take_some_ranks(builder *b, uint32_t first, uint32_t stop, cut *cuts) {
    const lf_bpe *m = b->model;
    size_t starts[BATCH + 1] = {0};
    for (uint32_t t = first; t < stop; t++)
        starts[t - first + 1] = starts[t - first] + list_cuts(b, t, cuts + starts[t - first]);
    for (size_t i = 0; i < starts[stop - first]; i++) find_symbols(b, &cuts[i]);
    for (uint32_t t = first; t < stop; t++) {
        if (token_length(m, t) == 1) continue;
        const cut *c = find_pair(b, t, cuts + starts[t - first], starts[t - first + 1] - starts[t - first]);
        if (c) take_merge(b, 256 + t, t, m->symbol_tokens[c->left_symbol], m->symbol_tokens[c->right_symbol], 1);
        else take_merge(b, 256 + t, t, 0, 0, 0);
    }
}

static void take_ranks(builder *b, cut *cuts) {
    const uint32_t n = (uint32_t)b->model->n_tokens;
    b->powers[0] = 1;
    for (size_t i = 0; i < ROLLED; i++) b->powers[i + 1] = b->powers[i] * ROLL;
    for (uint32_t t = 0; t < n; t++)
        if (token_length(b->model, t) > 1) b->token_symbols[t] = 256 + t;
    for (uint32_t t = 0; t < n; t += BATCH) take_some_ranks(b, t, n - t < BATCH ? n : t + BATCH, cuts);
}

/* Fills what depends on all symbols: their ids and lengths, and the pairs that had to wait. */
static void finish_symbols(builder *b) {
    lf_bpe *m = b->model;
    size_t n_formed = 0;
    m->ids_follow = 1;
    for (uint32_t s = 0; s < m->n_symbols; s++) {
        const uint32_t t = b->model->symbol_tokens[s];
        m->symbol_ids[s] = t == LF_NO_SYMBOL ? LF_NO_ID : m->ids[t];
        m->symbol_lengths[s] = t == LF_NO_SYMBOL ? 0 : (uint32_t)token_length(m, t);
        if (t == LF_NO_SYMBOL) continue;
        n_formed++;
        if (s >= 256 && n_formed == 257) m->id_shift = m->ids[t] - s;
        if (s >= 256) m->ids_follow &= m->ids[t] - s == m->id_shift;
        m->forms[t / 8] |= (uint8_t)(1u << t % 8);
        if (s >= 256 && m->left[s] == LF_NO_SYMBOL)
            add_pair(m, b->token_symbols[b->lefts[s]], b->token_symbols[b->rights[s]], s);
    }
    m->all_form = n_formed == m->n_tokens;
}

static int is_odd(const lf_bpe *m, uint32_t s) { return m->left[s] > s || m->right[s] > s; }

/* The trie of odd tokens. */
static lf_status build_odd(builder *b) {
    lf_bpe *m = b->model;
    size_t n_bytes = 0;
    for (uint32_t s = 256; s < m->n_symbols; s++)
        if (b->model->symbol_tokens[s] != LF_NO_SYMBOL && is_odd(m, s)) m->n_odd++, n_bytes += m->symbol_lengths[s];
    if (!m->n_odd) return LF_OK;
    const lf_status status = lf_trie_new(&m->odd, n_bytes);
    for (uint32_t s = 256; status == LF_OK && s < m->n_symbols; s++)
        if (b->model->symbol_tokens[s] != LF_NO_SYMBOL && is_odd(m, s)) {
            const uint8_t *token = token_bytes(m, b->model->symbol_tokens[s]);
            m->odd.values[lf_trie_insert(&m->odd, token, m->symbol_lengths[s])] = s;
            m->odd_first_two[token[0] << 5 | token[1] >> 3] |= (uint8_t)(1u << (token[1] & 7));
        }
    return status;
}

static unsigned bits_for(size_t n) {
    unsigned bits = 4;
    while (((size_t)1 << bits) < 2 * n) bits++;
    return bits;
}

static lf_status build_tokens(builder *b, size_t *where) {
    lf_bpe *m = b->model;
    m->token_bits = bits_for(m->n_tokens);
    m->token_slots = lf_pages_new(((size_t)1 << m->token_bits) * sizeof *m->token_slots);
    b->known = calloc((size_t)1 << (m->token_bits + KNOWN_BITS - 3), 1);
    uint8_t ascii[128][128] = {{0}};
    if (!m->token_slots || !b->known) return LF_ENOMEM;
    for (uint32_t t = 0; t < m->n_tokens; t++) {
        const size_t n = token_length(m, t);
        if (n > m->longest) m->longest = n;
        const uint64_t hash = hash_bytes(token_bytes(m, t), n);
        uint64_t *slot = token_slot(m, token_bytes(m, t), n, hash);
        if (*slot) return *where = t, LF_EVALUE;
        *slot = hash >> 32 << 32 | (t + 1);
        set_bit(b->known, known_bit(b, hash));
        note_joined(m, ascii, token_bytes(m, t), n);
    }
    note_joined_ascii(m, ascii);
    return LF_OK;
}

/* Every merge's token, and the table of the full process. */
static lf_status build_list(builder *b, uint32_t *made, size_t n_merges, size_t *where) {
    const lf_bpe *m = b->model;
    uint8_t *joined = b->scratch; /* at least twice the longest token */
    for (size_t i = 0; i < n_merges; i++) {
        const uint32_t left = b->list.pairs[2 * i], right = b->list.pairs[2 * i + 1];
        *where = i;
        if (left >= m->n_tokens || right >= m->n_tokens) return LF_EINDEX;
        const size_t n_left = token_length(m, left), n_right = token_length(m, right);
        memcpy(joined, token_bytes(m, left), n_left);
        memcpy(joined + n_left, token_bytes(m, right), n_right);
        made[i] = lf_bpe_find(m, joined, n_left + n_right);
        if (made[i] == LF_NO_SYMBOL) return LF_EINDEX;
        *list_slot(&b->list, left, right) = (uint32_t)i + 1; /* a pair named twice: the last rank holds */
    }
    b->list.made = made;
    return LF_OK;
}

static lf_status build(builder *b, uint32_t *made, size_t n_merges, size_t *where) {
    lf_bpe *m = b->model;
    const int listed = b->list.pairs != NULL;
    for (uint32_t s = 0; s < m->n_symbols; s++) m->left[s] = m->right[s] = b->model->symbol_tokens[s] = LF_NO_SYMBOL;
    for (uint32_t t = 0; t < m->n_tokens; t++) b->token_symbols[t] = LF_NO_SYMBOL;
    for (uint32_t i = 0; i < 65536; i++) m->byte_pairs[i] = LF_NO_SYMBOL;
    for (uint32_t byte = 0; byte < 256; byte++) {
        const uint8_t one = (uint8_t)byte;
        const uint32_t t = lf_bpe_find(m, &one, 1);
        m->left[byte] = m->right[byte] = byte;
        if (t != LF_NO_SYMBOL) b->model->symbol_tokens[byte] = t, b->token_symbols[t] = byte;
        else if (never_in_utf8(one)) m->lacks_bytes = 1;
        else return *where = m->n_tokens + byte, LF_EVALUE;
    }
    if (listed) {
        const lf_status status = build_list(b, made, n_merges, where);
        if (status != LF_OK) return status;
        take_list(b, made, n_merges);
    } else {
        cut *cuts = malloc(BATCH * ROLLED * sizeof *cuts);
        if (!cuts) return LF_ENOMEM;
        take_ranks(b, cuts);
        free(cuts);
    }
    finish_symbols(b);
    return build_odd(b);
}

lf_status lf_bpe_new(lf_bpe **model, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids, size_t n_tokens,
                     const uint32_t *merges, size_t n_merges, int whole_pieces, size_t *where) {
    *model = NULL;
    *where = 0;
    const size_t n_symbols = 256 + (merges ? n_merges : n_tokens);
    if (n_symbols > LF_BPE_MAX_SYMBOLS || n_tokens > LF_BPE_MAX_SYMBOLS) return *where = n_symbols, LF_EVALUE;
    lf_bpe *m = calloc(1, sizeof *m);
    if (!m) return LF_ENOMEM;
    *m = (lf_bpe){.blob = blob, .offsets = offsets, .ids = ids, .n_tokens = n_tokens, .whole_pieces = whole_pieces};
    m->n_symbols = (uint32_t)n_symbols;
    m->forms = calloc(n_tokens / 8 + 1, 1);
    m->symbol_tokens = malloc(n_symbols * sizeof(uint32_t));
    m->symbol_ids = malloc(n_symbols * sizeof(uint32_t));
    m->prefixes = calloc(1, sizeof(lf_bpe_prefixes *));
    m->symbol_lengths = malloc(n_symbols * sizeof(uint32_t));
    m->left = malloc(n_symbols * sizeof(uint32_t));
    m->right = malloc(n_symbols * sizeof(uint32_t));
    const int has_pairs = lf_pairs_new(&m->pairs, n_symbols);
    m->joined_characters = calloc(1, (size_t)1 << (LF_BPE_CUT_BITS - 3));
    lf_status status = LF_ENOMEM;
    builder b = {.model = m};
    uint32_t *made = NULL;
    if (!m->forms || !m->symbol_tokens || !m->prefixes || !m->symbol_ids || !m->symbol_lengths || !m->left ||
        !m->right || !has_pairs || !m->joined_characters)
        goto end;
    if ((status = build_tokens(&b, where)) != LF_OK) goto end;
    const size_t n_scratch = m->longest > SHORT ? m->longest : SHORT;
    b.list = (merge_list){.pairs = merges, .bits = bits_for(n_merges)};
    b.list.slots = merges ? calloc((size_t)1 << b.list.bits, sizeof *b.list.slots) : NULL;
    b.token_symbols = malloc((n_tokens + 1) * sizeof(uint32_t));
    b.lefts = malloc(n_symbols * sizeof(uint32_t));
    b.rights = malloc(n_symbols * sizeof(uint32_t));
    b.symbols = malloc(n_scratch * sizeof(uint32_t));
    b.scratch = malloc(heap_bytes(n_scratch));
    made = malloc((n_merges + 1) * sizeof *made);
    status = LF_ENOMEM;
    if ((merges && !b.list.slots) || !b.token_symbols || !b.lefts || !b.rights || !b.symbols || !b.scratch || !made)
        goto end;
    status = build(&b, made, n_merges, where);
end:
    free(b.list.slots), free(b.token_symbols), free(b.lefts), free(b.rights);
    free(b.symbols), free(b.scratch), free(b.known), free(made);
    if (status == LF_OK) *model = m;
    else lf_bpe_free(m);
    return status;
}

void lf_bpe_free(lf_bpe *m) {
    if (!m) return;
    free(m->symbol_ids), free(m->symbol_lengths), free(m->left), free(m->right);
    lf_pages_free(m->token_slots, ((size_t)1 << m->token_bits) * sizeof *m->token_slots);
    lf_pairs_free(&m->pairs);
    if (m->prefixes) prefixes_free(*m->prefixes);
    free(m->prefixes), free(m->symbol_tokens), free(m->joined_characters), free(m->forms);
    lf_trie_free(&m->odd);
    free(m);
}
