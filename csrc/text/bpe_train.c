/* bpe_train.c - the trainer; see bpe_train.h. What depends on the width of a slot is in bpe_train_body.h. */
#include "text/bpe_train.h"

#include <stdlib.h>
#include <string.h>

#include "text/pages.h"
#include "text/radix.h"

enum {
    FRONT = 512,                  /* pairs of ids below it are found without hashing while the slots are read */
    BLOCK_PLACES = (1 << 20) - 4, /* in one block of the arena: 4 MiB with its head                              */
    AHEAD = 40,                   /* places fetched before they are looked at                                 */
    RUN_BLOCK = 6,                /* log2 of the slots that share an entry of block_runs                      */
    FLOOR_SHARE = 100,            /* the first floor: the mean count of symbols per id, divided by this       */
};

typedef struct {
    uint64_t key; /* left (32) | right (32)                        */
    uint64_t count;
    uint32_t *places; /* rising; those where the pair was born, some gone */
    uint32_t n_places;
} pair;

/* An entry of the queue: bounds on what its pair is worth now. */
typedef struct {
    uint64_t count, tie; /* of equal counts the lower tie goes first */
    uint32_t pair;
} candidate;

/* What one merge does to the pairs with one neighbour. */
typedef struct {
    union {
        uint64_t weight;  /* first: how often the neighbour is there                                     */
        uint32_t *cursor; /* then: where the next place of the new pair goes, NULL if that is not kept */
    };
    uint32_t n;
    uint32_t touched;
} delta;

typedef struct {
    uint32_t at, left, right; /* neighbours; n_ids for none */
} occurrence;

typedef struct block {
    struct block *next;
    size_t n_bytes;
    uint32_t places[];
} block;

struct lf_bpe_trainer {
    lf_bpe_rules rules;
    int wide; /* slots have 4 bytes instead of 2 */
    int broken;
    void *slots;
    size_t slots_bytes;
    uint32_t n_slots;
    /* Slots run_starts[r] .. run_starts[r + 1] belong to words with count run_weights[r]. */
    uint32_t *run_starts, *block_runs;
    uint64_t *run_weights;

    pair *pairs;
    uint32_t n_pairs;
    size_t pairs_room;
    uint32_t *table; /* by hash of the key: pair + 1, 0 for none; at most half full */
    unsigned table_bits;
    block *blocks;
    size_t block_left;
    candidate *heap; /* four children a node */
    size_t n_heap, heap_room;
    uint64_t floor;

    uint32_t *lengths; /* of each id, in slots; 0 for one that is no symbol yet */
    uint32_t *units;   /* of each id, in initial symbols */
    uint8_t *strings;  /* of all ids */
    size_t *string_at, n_strings, strings_room;
    uint32_t *string_lengths,
        *named; /* `named` by hash of the string: id + 1; NULL where no merge can make a known string */
    unsigned named_bits;
    uint8_t *prefix; /* a copy of that of the rules */
    lf_piece *piece; /* of each id, where there are rules for pieces */
    uint64_t *born;
    size_t n_born, born_room;

    delta *left, *right; /* by neighbour */
    uint32_t *touched_left, *touched_right;
    occurrence *occurrences;
    size_t occurrences_room;

    lf_bpe_merge *merges;
    size_t n_merges, merges_room;
    uint32_t next_id;
};

/* Pairs. */

static inline size_t slot_of(const lf_bpe_trainer *t, uint64_t key) {
    return (size_t)((key ^ key >> 29) * 0x9E3779B97F4A7C15u >> (64 - t->table_bits));
}

#define NO_PAIR 0xFFFFFFFFu

static inline uint32_t find_pair(const lf_bpe_trainer *t, uint64_t key) {
    const size_t mask = ((size_t)1 << t->table_bits) - 1;
    for (size_t at = slot_of(t, key); t->table[at]; at = (at + 1) & mask)
        if (t->pairs[t->table[at] - 1].key == key) return t->table[at] - 1;
    return NO_PAIR;
}

static void enter(lf_bpe_trainer *t, uint32_t which) {
    const size_t mask = ((size_t)1 << t->table_bits) - 1;
    size_t at = slot_of(t, t->pairs[which].key);
    while (t->table[at]) at = (at + 1) & mask;
    t->table[at] = which + 1;
}

static lf_status rehash(lf_bpe_trainer *t, unsigned bits) {
    if (bits != t->table_bits) {
        uint32_t *table = malloc(sizeof *table << bits);
        if (!table) return LF_ENOMEM;
        free(t->table);
        t->table = table;
        t->table_bits = bits;
    }
    memset(t->table, 0, sizeof *t->table << bits);
    for (uint32_t i = 0; i < t->n_pairs; i++) enter(t, i);
    return LF_OK;
}

/* A pair that is not in the table yet. */
static lf_status new_pair(lf_bpe_trainer *t, uint64_t key, uint64_t count, uint32_t n_places, uint32_t *places) {
    if (t->n_pairs == NO_PAIR - 1) return LF_ENOMEM;
    if (!lf_grow(&t->pairs, &t->pairs_room, (t->n_pairs + (size_t)1) * sizeof(pair))) return LF_ENOMEM;
    t->pairs[t->n_pairs++] = (pair){key, count, places, n_places};
    if ((size_t)t->n_pairs > (size_t)1 << (t->table_bits - 1)) return rehash(t, t->table_bits + 1);
    enter(t, t->n_pairs - 1);
    return LF_OK;
}

static void free_blocks(lf_bpe_trainer *t) {
    while (t->blocks) {
        block *next = t->blocks->next;
        lf_pages_free(t->blocks, t->blocks->n_bytes);
        t->blocks = next;
    }
    t->block_left = 0;
}

/* Room for n places. What a block has left is taken from its end. */
static uint32_t *new_places(lf_bpe_trainer *t, size_t n) {
    if (n > t->block_left) {
        const size_t room = n > BLOCK_PLACES ? n : BLOCK_PLACES;
        const size_t n_bytes = sizeof(block) + room * sizeof(uint32_t);
        block *b = lf_pages_new(n_bytes);
        if (!b) return NULL;
        b->next = t->blocks;
        b->n_bytes = n_bytes;
        t->blocks = b;
        t->block_left = room;
    }
    return t->blocks->places + (t->block_left -= n);
}

/* The queue. */

/* Whether the pair of a has the greater byte strings: its left one, or where these are equal its right one. */
static int is_greater(const lf_bpe_trainer *t, const candidate *a, const candidate *b) {
    const uint64_t x = t->pairs[a->pair].key, y = t->pairs[b->pair].key;
    for (int shift = 32; shift >= 0; shift -= 32) {
        const uint32_t i = (uint32_t)(x >> shift), j = (uint32_t)(y >> shift);
        const uint32_t n = t->string_lengths[i], m = t->string_lengths[j];
        const int order = memcmp(t->strings + t->string_at[i], t->strings + t->string_at[j], n < m ? n : m);
        if (order || n != m) return order ? order > 0 : n > m;
    }
    return 0;
}

/* Byte `at` of the string that a pair makes, 0 past its end. */
static inline unsigned byte_of_both(const lf_bpe_trainer *t, uint64_t key, uint32_t at) {
    const uint32_t a = (uint32_t)(key >> 32), b = (uint32_t)key, n = t->string_lengths[a];
    if (at < n) return t->strings[t->string_at[a] + at];
    return at - n < t->string_lengths[b] ? t->strings[t->string_at[b] + at - n] : 0;
}

/* Whether the pair of a makes the lesser string; no string has a zero in it. */
static int is_lesser(const lf_bpe_trainer *t, const candidate *a, const candidate *b) {
    const uint64_t x = t->pairs[a->pair].key, y = t->pairs[b->pair].key;
    for (uint32_t at = 6;; at++) {
        const unsigned c = byte_of_both(t, x, at), d = byte_of_both(t, y, at);
        if (c != d || !c) return c < d;
    }
}

static inline int goes_first(const lf_bpe_trainer *t, const candidate *a, const candidate *b) {
    if (a->count != b->count) return a->count > b->count;
    if (a->tie != b->tie) return a->tie < b->tie;
    if (t->rules.ties == LF_TIES_PIECES) return is_lesser(t, a, b);
    return t->rules.ties == LF_TIES_LEXMAX && is_greater(t, a, b);
}

/* Lets x sink from the free node `at`. */
static void sink(lf_bpe_trainer *t, size_t at, candidate x) {
    candidate *heap = t->heap;
    for (;;) {
        const size_t child = 4 * at + 1, end = child + 4 < t->n_heap ? child + 4 : t->n_heap;
        if (child >= t->n_heap) break;
        size_t best = child;
        for (size_t i = child + 1; i < end; i++)
            if (goes_first(t, &heap[i], &heap[best])) best = i;
        if (!goes_first(t, &heap[best], &x)) break;
        heap[at] = heap[best];
        at = best;
    }
    heap[at] = x;
}

static void pop(lf_bpe_trainer *t) {
    if (--t->n_heap) sink(t, 0, t->heap[t->n_heap]);
}

/* For the greater string to have the lower tie: the first 8 bytes of the left string, inverted. */
static uint64_t tie_of_string(const lf_bpe_trainer *t, uint32_t id) {
    uint64_t head = 0;
    for (uint32_t i = 0; i < 8; i++)
        head = head << 8 | (i < t->string_lengths[id] ? t->strings[t->string_at[id] + i] : 0);
    return ~head;
}

/* For the shorter piece, and then the lesser string, to have the lower tie: characters (16) | the first 6 bytes. */
static uint64_t tie_of_piece(const lf_bpe_trainer *t, uint64_t key) {
    uint64_t tie = t->piece[key >> 32].n_characters + (uint64_t)t->piece[(uint32_t)key].n_characters;
    for (uint32_t i = 0; i < 6; i++) tie = tie << 8 | byte_of_both(t, key, i);
    return tie;
}

static lf_status push(lf_bpe_trainer *t, uint32_t which) {
    const pair *p = &t->pairs[which];
    if (!lf_grow(&t->heap, &t->heap_room, (t->n_heap + 1) * sizeof *t->heap)) return LF_ENOMEM;
    candidate x = {p->count, p->key, which};
    if (t->rules.ties == LF_TIES_FIRST) x.tie = p->places[0];
    if (t->rules.ties == LF_TIES_LEXMAX) x.tie = tie_of_string(t, (uint32_t)(p->key >> 32));
    if (t->rules.ties == LF_TIES_PIECES) x.tie = tie_of_piece(t, p->key);
    size_t at = t->n_heap++;
    for (; at && goes_first(t, &x, &t->heap[(at - 1) / 4]); at = (at - 1) / 4) t->heap[at] = t->heap[(at - 1) / 4];
    t->heap[at] = x;
    return LF_OK;
}

/* Symbols. */

static int may_join(const lf_bpe_trainer *t, uint32_t a, uint32_t b) {
    if (t->piece) return lf_pieces_join(&t->rules.pieces, t->piece[a], t->piece[b]);
    if (!t->rules.max_length) return 1;
    const int born = a >= t->rules.first_id || b >= t->rules.first_id || t->units[a] > 1 || t->units[b] > 1;
    return !born || (uint64_t)t->units[a] + t->units[b] < t->rules.max_length;
}

static lf_status keep(lf_bpe_trainer *t, uint64_t key) {
    if (!t->rules.keeps) return LF_OK;
    if (!lf_grow(&t->born, &t->born_room, (t->n_born + 1) * sizeof *t->born)) return LF_ENOMEM;
    t->born[t->n_born++] = key;
    return LF_OK;
}

/* Where the id of a string is in `named`, or would be. */
static size_t place_of_name(const lf_bpe_trainer *t, const uint8_t *string, size_t n) {
    const size_t mask = ((size_t)1 << t->named_bits) - 1;
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++) hash = (hash ^ string[i]) * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(hash ^ hash >> 32) & mask;
    for (; t->named[at]; at = (at + 1) & mask) {
        const uint32_t id = t->named[at] - 1;
        if (t->string_lengths[id] == n && !memcmp(t->strings + t->string_at[id], string, n)) break;
    }
    return at;
}

/* Gives an id to the n bytes behind all strings. */
static void name(lf_bpe_trainer *t, uint32_t id, size_t n) {
    t->string_at[id] = t->n_strings;
    t->string_lengths[id] = (uint32_t)n;
    if (t->named) t->named[place_of_name(t, t->strings + t->n_strings, n)] = id + 1;
    t->n_strings += n;
}

/* The id of what (a, b) makes: that of a string that has one, or the next one. */
static lf_status new_symbol(lf_bpe_trainer *t, uint32_t a, uint32_t b, uint32_t *id) {
    const size_t n = t->string_lengths[a], n_prefix = t->rules.n_prefix;
    size_t m = t->string_lengths[b], skip = 0;
    if (n_prefix && m >= n_prefix && !memcmp(t->strings + t->string_at[b], t->prefix, n_prefix)) skip = n_prefix;
    m -= skip;
    if (n + m > UINT32_MAX) return LF_ENOMEM;
    if (!lf_grow(&t->strings, &t->strings_room, t->n_strings + n + m)) return LF_ENOMEM;
    uint8_t *string = t->strings + t->n_strings;
    memcpy(string, t->strings + t->string_at[a], n);
    memcpy(string + n, t->strings + t->string_at[b] + skip, m);
    const uint32_t known = t->named ? t->named[place_of_name(t, string, n + m)] : 0;
    *id = known ? known - 1 : t->next_id++;
    if (!known) name(t, *id, n + m);
    if (!t->lengths[*id]) t->units[*id] = t->units[a] + t->units[b];
    if (t->piece) t->piece[*id] = lf_piece_of(t->piece[a], t->piece[b]);
    return LF_OK;
}

/* The run that a slot is in; `run` is one at or before it in a scan from the left. */
static inline uint32_t run_at(const lf_bpe_trainer *t, uint32_t run, uint32_t place) {
    const uint32_t from = t->block_runs[place >> RUN_BLOCK];
    if (from > run) run = from;
    while (place >= t->run_starts[run + 1]) run++;
    return run;
}

/* The first run of each block of slots. */
static void index_runs(lf_bpe_trainer *t) {
    for (uint32_t b = 0, r = 0; b <= (t->n_slots - 1) >> RUN_BLOCK; b++) {
        while (b << RUN_BLOCK >= t->run_starts[r + 1]) r++;
        t->block_runs[b] = r;
    }
}

#define SLOT uint16_t
#define SEP 0xFFFFu
#define NAME(x) x##_16
#include "text/bpe_train_body.h"
#undef SLOT
#undef SEP
#undef NAME
#define SLOT uint32_t
#define SEP 0xFFFFFFFFu
#define NAME(x) x##_32
#include "text/bpe_train_body.h"

/* Building. */

/* The words by falling count, or where `order` is NULL in their own order. */
static size_t word_at(const lf_keyed *order, size_t i) { return order ? (size_t)order[i].value : i; }

static lf_status layout(lf_bpe_trainer *t, const lf_bpe_words *w, const lf_keyed *order, size_t n_slots) {
    size_t n_runs = 0;
    int64_t last = 0;
    for (size_t i = 0; i < w->n_words; i++) {
        const int64_t count = w->counts[word_at(order, i)];
        n_runs += count != last;
        last = count;
    }
    t->n_slots = (uint32_t)n_slots;
    t->slots_bytes = n_slots * (t->wide ? sizeof(uint32_t) : sizeof(uint16_t));
    t->slots = lf_pages_new(t->slots_bytes);
    t->run_starts = malloc((n_runs + 2) * sizeof *t->run_starts);
    t->run_weights = malloc((n_runs + 1) * sizeof *t->run_weights);
    t->block_runs = malloc(((n_slots >> RUN_BLOCK) + 1) * sizeof *t->block_runs);
    if (!t->slots || !t->run_starts || !t->run_weights || !t->block_runs) return LF_ENOMEM;
    uint32_t run = 0;
    last = 0;
    t->run_starts[0] = 0;
    t->run_weights[0] = 0;
    uint32_t at = t->wide ? separate_32(t->slots, 0) : separate_16(t->slots, 0);
    for (size_t i = 0; i < w->n_words; i++) {
        const size_t word = word_at(order, i);
        if (w->counts[word] != last) {
            last = w->counts[word];
            run += i > 0;
            t->run_starts[run] = i ? at : 0;
            t->run_weights[run] = (uint64_t)last;
        }
        at = t->wide ? write_32(t->slots, at, w, word) : write_16(t->slots, at, w, word);
    }
    t->n_slots = at;
    t->run_starts[run + 1] = UINT32_MAX;
    index_runs(t);
    return LF_OK;
}

/* The words by falling count, for the runs to be few; in `room`, which is to be freed. */
static lf_status order_words(const lf_bpe_words *w, lf_keyed **room, const lf_keyed **order) {
    uint64_t most = 0;
    lf_keyed *items = *room = malloc((2 * w->n_words + 1) * sizeof *items);
    if (!items) return LF_ENOMEM;
    for (size_t i = 0; i < w->n_words; i++)
        if ((uint64_t)w->counts[i] > most) most = (uint64_t)w->counts[i];
    for (size_t i = 0; i < w->n_words; i++) items[i] = (lf_keyed){most - (uint64_t)w->counts[i], i};
    *order = lf_radix_sort(items, items + w->n_words, w->n_words, most);
    return LF_OK;
}

/* The tables by id, and the strings that are given. */
static lf_status tables(lf_bpe_trainer *t, const lf_bpe_rules *rules) {
    const size_t n = (size_t)rules->n_ids + 1;
    t->lengths = calloc(n, sizeof *t->lengths);
    t->units = calloc(n, sizeof *t->units);
    t->left = calloc(n, sizeof *t->left);
    t->right = calloc(n, sizeof *t->right);
    t->touched_left = malloc(n * sizeof *t->touched_left);
    t->touched_right = malloc(n * sizeof *t->touched_right);
    t->string_at = calloc(n, sizeof *t->string_at);
    t->string_lengths = calloc(n, sizeof *t->string_lengths);
    t->prefix = malloc(rules->n_prefix + 1);
    if (!t->lengths || !t->units || !t->left || !t->right || !t->touched_left || !t->touched_right || !t->string_at ||
        !t->string_lengths || !t->prefix)
        return LF_ENOMEM;
    if (rules->n_prefix) memcpy(t->prefix, rules->prefix, rules->n_prefix);
    if (rules->pieces.max_characters && !(t->piece = calloc(n, sizeof *t->piece))) return LF_ENOMEM;
    if (rules->repeats || rules->n_strings > rules->n_symbols) {
        for (t->named_bits = 8; (size_t)1 << t->named_bits < 2 * n; t->named_bits++) continue;
        if (!(t->named = calloc((size_t)1 << t->named_bits, sizeof *t->named))) return LF_ENOMEM;
    }
    for (size_t i = 0; i < rules->n_strings; i++) {
        const size_t length = (size_t)(rules->string_at[i + 1] - rules->string_at[i]);
        const uint32_t id = rules->string_ids[i];
        if (!lf_grow(&t->strings, &t->strings_room, t->n_strings + length + 1)) return LF_ENOMEM;
        if (length) memcpy(t->strings + t->n_strings, rules->strings + rules->string_at[i], length);
        name(t, id, length);
        if (i >= rules->n_symbols) continue;
        t->lengths[id] = t->units[id] = 1;
        if (t->piece) t->piece[id] = (lf_piece){1, rules->flags[i], rules->scripts[i], rules->scripts[i]};
    }
    return rehash(t, 12);
}

static lf_status check_words(const lf_bpe_words *w, uint64_t *total, size_t *n_slots, size_t *where) {
    *total = 0;
    *n_slots = 1;
    for (size_t i = 0; i < w->n_words; i++) {
        const int64_t length = w->offsets[i + 1] - w->offsets[i];
        int64_t symbols;
        if (w->counts[i] < 1 || length < 0) return *where = i, LF_EVALUE;
        if (__builtin_mul_overflow(length, w->counts[i], &symbols) || *total + (uint64_t)symbols > INT64_MAX)
            return *where = w->n_words, LF_EVALUE;
        *total += (uint64_t)symbols;
        *n_slots += (size_t)length + 1;
    }
    if (*n_slots >= UINT32_MAX - 1) return *where = w->n_words + 1, LF_EVALUE;
    return LF_OK;
}

static lf_status check_ids(const lf_bpe_rules *rules) {
    if (rules->first_id > rules->n_ids || rules->n_ids >= LF_A_BREAK - 1) return LF_EINDEX;
    for (size_t i = 0; i < rules->n_strings; i++)
        if (rules->string_ids[i] >= rules->first_id) return LF_EINDEX;
    return LF_OK;
}

/* Whether the words have nothing but symbols. */
static lf_status check_symbols(const lf_bpe_trainer *t, const lf_bpe_words *w) {
    const uint32_t *ids = w->symbols ? w->symbols : w->blob;
    const int64_t n = w->symbols ? 256 : w->n_words ? w->offsets[w->n_words] : 0;
    for (int64_t i = w->symbols || !w->n_words ? 0 : w->offsets[0]; i < n; i++)
        if (ids[i] < LF_A_BREAK && (ids[i] >= t->rules.first_id || !t->lengths[ids[i]])) return LF_EINDEX;
    return LF_OK;
}

static lf_status scan(lf_bpe_trainer *t) { return t->wide ? scan_32(t) : scan_16(t); }
static lf_status merge(lf_bpe_trainer *t, uint32_t which) { return t->wide ? merge_32(t, which) : merge_16(t, which); }

/* Makes the given merges. No pair may be forgotten meanwhile, for a seed may be rare. */
static lf_status seed(lf_bpe_trainer *t, size_t *where) {
    const uint64_t floor = t->floor;
    t->floor = 1;
    lf_status status = scan(t);
    for (size_t i = 0; i < t->rules.n_seeds && status == LF_OK; i++) {
        const uint32_t a = t->rules.seeds[2 * i], b = t->rules.seeds[2 * i + 1];
        *where = i + 1;
        if (t->next_id >= t->rules.n_ids || a >= t->next_id || b >= t->next_id) return LF_EINDEX;
        if (!t->lengths[a] || !t->lengths[b]) return LF_EINDEX;
        uint32_t which = find_pair(t, (uint64_t)a << 32 | b);
        if (which == NO_PAIR) {
            which = t->n_pairs;
            status = new_pair(t, (uint64_t)a << 32 | b, 0, 0, NULL);
        }
        if (status == LF_OK) status = merge(t, which);
    }
    t->floor = floor;
    return status;
}

lf_status lf_bpe_trainer_new(lf_bpe_trainer **trainer, const lf_bpe_rules *rules, const lf_bpe_words *words,
                             size_t *where) {
    uint64_t total;
    size_t n_slots;
    *trainer = NULL;
    *where = 0;
    lf_status status = check_ids(rules);
    if (status == LF_OK) status = check_words(words, &total, &n_slots, where);
    if (status != LF_OK) return status;
    lf_bpe_trainer *t = calloc(1, sizeof *t);
    if (!t) return LF_ENOMEM;
    t->rules = *rules;
    if (!t->rules.min_count) t->rules.min_count = 1;
    t->wide = rules->n_ids >= 0xFFFF;
    t->next_id = rules->first_id;
    t->floor = total / FLOOR_SHARE / (rules->n_ids + (uint64_t)1);
    if (t->floor < t->rules.min_count || rules->keeps) t->floor = t->rules.min_count;
    lf_keyed *room = NULL;
    const lf_keyed *order = NULL;
    status = tables(t, rules);
    if (status == LF_OK) status = check_symbols(t, words);
    if (status == LF_OK && rules->ties != LF_TIES_FIRST) status = order_words(words, &room, &order);
    if (status == LF_OK) status = layout(t, words, order, n_slots);
    free(room);
    if (status == LF_OK && rules->n_seeds) status = seed(t, where);
    if (status == LF_OK) status = scan(t);
    if (status != LF_OK) return lf_bpe_trainer_free(t), status;
    *trainer = t;
    return LF_OK;
}

void lf_bpe_trainer_free(lf_bpe_trainer *trainer) {
    if (!trainer) return;
    free_blocks(trainer);
    lf_pages_free(trainer->slots, trainer->slots_bytes);
    void *const arrays[] = {trainer->run_starts,     trainer->run_weights, trainer->block_runs, trainer->pairs,
                            trainer->table,          trainer->heap,        trainer->lengths,    trainer->strings,
                            trainer->string_at,      trainer->left,        trainer->right,      trainer->touched_left,
                            trainer->touched_right,  trainer->occurrences, trainer->merges,     trainer->units,
                            trainer->string_lengths, trainer->named,       trainer->piece,      trainer->born,
                            trainer->prefix};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    free(trainer);
}

lf_status lf_bpe_trainer_run(lf_bpe_trainer *t, size_t n_merges, size_t *n_done) {
    lf_status status = t->broken ? LF_ENOMEM : LF_OK;
    while (status == LF_OK && t->n_merges < n_merges && t->next_id < t->rules.n_ids) {
        if (!(t->wide ? best_32(t) : best_16(t))) {
            if (t->floor == t->rules.min_count) break;
            t->floor = t->floor / 4 > t->rules.min_count ? t->floor / 4 : t->rules.min_count;
            status = scan(t);
        } else {
            const uint32_t which = t->heap[0].pair;
            pop(t);
            status = merge(t, which);
        }
    }
    t->broken = status != LF_OK;
    *n_done = t->n_merges;
    return status;
}

size_t lf_bpe_trainer_vocab_size(const lf_bpe_trainer *t, size_t *n_bytes) {
    size_t n = 0;
    *n_bytes = 0;
    for (size_t id = 0; id < t->next_id; id++) {
        n += t->lengths[id] > 0;
        *n_bytes += t->lengths[id] ? t->string_lengths[id] : 0;
    }
    return n;
}

void lf_bpe_trainer_vocab(const lf_bpe_trainer *t, uint8_t *blob, int64_t *offsets, uint32_t *ids) {
    int64_t end = 0;
    for (uint32_t id = 0; id < t->next_id; id++) {
        if (!t->lengths[id]) continue;
        *offsets++ = end;
        *ids++ = id;
        memcpy(blob + end, t->strings + t->string_at[id], t->string_lengths[id]);
        end += t->string_lengths[id];
    }
    *offsets = end;
}

const lf_bpe_merge *lf_bpe_trainer_merges(const lf_bpe_trainer *trainer, size_t *n_merges) {
    *n_merges = trainer->n_merges;
    return trainer->merges;
}

const uint8_t *lf_bpe_trainer_token(const lf_bpe_trainer *trainer, uint32_t id, size_t *n) {
    *n = trainer->string_lengths[id];
    return trainer->strings + trainer->string_at[id];
}

const uint64_t *lf_bpe_trainer_born(const lf_bpe_trainer *trainer, size_t *n_pairs) {
    *n_pairs = trainer->n_born;
    return trainer->born;
}
