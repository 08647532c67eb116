/* unigram_train_seeds.c - repeated substrings of the words and, from the same walk, which of them each slot begins.
 *
 * Suffixes are sorted bucket by bucket, one for each first symbol, by keys of as many further symbols as 64 bits hold; equal
 * keys are sorted again by the symbols behind. A suffix ends where no piece could go on (`limit`), so depth is bounded.
 * The nodes of the suffix tree are found with a stack over the longest common prefixes. */
#include "text/unigram_train_state.h"

/* Room for one bucket. */
typedef struct {
    lf_keyed *items, *spare;
    uint64_t *weights; /* of the suffixes before */
    uint16_t *common;  /* symbols in common with the suffix before */
    size_t room;
    unsigned bits, a_key; /* of a symbol; symbols a key */
} bucket;

static int bucket_room(bucket *b, size_t n) {
    if (n <= b->room) return 1;
    free(b->items), free(b->spare), free(b->weights), free(b->common);
    b->room = n;
    b->items = malloc(n * sizeof *b->items);
    b->spare = malloc(n * sizeof *b->spare);
    b->weights = malloc((n + 1) * sizeof *b->weights);
    b->common = malloc((n + 1) * sizeof *b->common);
    return b->items && b->spare && b->weights && b->common;
}

static uint64_t key_at(const lf_unigram_trainer *t, const bucket *b, uint32_t slot, unsigned from) {
    const unsigned limit = t->limit[slot];
    unsigned n = limit > from ? limit - from : 0;
    if (n > b->a_key) n = b->a_key;
    uint64_t key = 0;
    for (unsigned i = 0; i < n; i++) key = key << b->bits | t->text[slot + from + i];
    return n ? key << b->bits * (b->a_key - n) : 0;
}

/* Sorts suffixes that agree in their first `from` symbols; keys are those of the symbols behind. */
static void sort_suffixes(const lf_unigram_trainer *t, const bucket *b, lf_keyed *items, lf_keyed *spare, size_t n,
                          unsigned from) {
    enum { FEW = 48 };
    uint64_t all = 0, differing = 0;
    for (size_t i = 0; i < n; i++) {
        items[i].key = key_at(t, b, (uint32_t)items[i].value, from);
        all |= items[i].key;
        differing |= items[i].key ^ items[0].key;
    }
    if (n <= FEW) {
        lf_insertion_sort(items, n);
    } else if (differing) {
        lf_keyed *sorted = lf_radix_sort(items, spare, n, all);
        if (sorted != items) memcpy(items, sorted, n * sizeof *items);
    }
    const uint64_t last_symbol = ((uint64_t)1 << b->bits) - 1;
    for (size_t i = 0, end; i < n; i = end) {
        const uint64_t key = items[i].key;
        for (end = i + 1; end < n && items[end].key == key; end++);
        if (end - i == 1 || !(key & last_symbol)) continue;
        sort_suffixes(t, b, items + i, spare, end - i, from + b->a_key);
        for (size_t k = i; k < end; k++) items[k].key = key; /* as it was: the common prefixes are read from the keys */
    }
}

static unsigned common_prefix(const lf_unigram_trainer *t, const bucket *b, const lf_keyed *x, const lf_keyed *y) {
    const uint32_t i = (uint32_t)x->value, k = (uint32_t)y->value;
    const unsigned most = t->limit[i] < t->limit[k] ? t->limit[i] : t->limit[k];
    const uint64_t differing = x->key ^ y->key;
    if (differing) {
        const unsigned n = 1 + ((unsigned)__builtin_clzll(differing) - (64 - b->bits * b->a_key)) / b->bits;
        return n < most ? n : most;
    }
    unsigned n = 1 + b->a_key;
    if (n > most) n = most;
    while (n < most && t->text[i + n] == t->text[k + n]) n++;
    return n;
}

/* Whether a row of symbols that stays within a suffix's limit can be a piece: what depends on where it ends. */
static int can_be_piece(const lf_unigram_trainer *t, const uint32_t *symbols, unsigned n) {
    const lf_unigram_rules *rules = &t->rules;
    unsigned n_spaces = 0;
    for (unsigned i = 0; i < n; i++) n_spaces += symbols[i] == t->space;
    if (!n_spaces || (rules->whitespace_only && n_spaces == n)) return 1;
    for (unsigned i = 0; i < n; i++) {
        if (symbols[i] != t->space) continue;
        if (rules->whitespace_as_suffix && i + 1 < n && (rules->split_by_whitespace || i == 0)) return 0;
        if (!rules->whitespace_as_suffix && i > 0 && (rules->split_by_whitespace || i + 1 == n)) return 0;
    }
    return 1;
}

static uint32_t byte_or_symbol(const lf_unigram_trainer *t, uint32_t symbol) {
    return t->rules.exact ? t->lead[symbol] : symbol;
}

/* How often the substring that suffixes left..right have in common counts as a seed, 0 if it is none.
 *
 * It is one if it occurs twice and has different continuations: else a longer one is as frequent. Fast training compares
 * symbols, and takes the end of a word for a place where anything may follow. But what can go on nowhere, as most whole
 * words, has to occur `least_closed` times: the rare ones say more of this text than of others, and with them unseen
 * code costs 0.25 % more. sentencepiece compares bytes of its corpus, in which each sentence ends with a NUL. Because it
 * takes a NUL off the end of a substring, the ends of sentences that have different ones behind them count double. */
static uint64_t seed_count(const lf_unigram_trainer *t, const bucket *b, size_t left, size_t right, unsigned length) {
    uint32_t next = LF_NOTHING, next_line = LF_NOTHING;
    uint64_t n_ends = 0;
    size_t i = left;
    for (; i <= right; i++) { /* those that end here come first */
        const uint32_t slot = (uint32_t)b->items[i].value, symbol = t->text[slot + length], word = t->word_of[slot];
        if (t->limit[slot] > length) break;
        if (symbol) {
            next = lf_either(next, byte_or_symbol(t, symbol));
        } else if (!t->rules.exact) {
            next = LF_SEVERAL;
        } else {
            next = lf_either(next, t->next[word]);
            if (t->ends[word]) next = lf_either(next, 0);
            next_line = lf_either(next_line, t->next_line[word]);
            n_ends += (uint64_t)t->ends[word];
        }
    }
    if (i <= right) {
        next = lf_either(next, byte_or_symbol(t, t->text[b->items[i].value + length]));
        next = lf_either(next, byte_or_symbol(t, t->text[b->items[right].value + length]));
    }
    uint64_t count = next == LF_SEVERAL ? b->weights[right + 1] - b->weights[left] : 0;
    if (count < 2 || (i > right && count < t->rules.least_closed)) count = 0;
    return count + (next_line == LF_SEVERAL ? n_ends : 0);
}

static int add_seed(lf_unigram_trainer *t, lf_seed_part *part, const bucket *b, size_t base, size_t left, size_t right,
                    unsigned length) {
    if (length < 2 || b->weights[right + 1] - b->weights[left] < 2) return 1;
    if (!can_be_piece(t, t->text + b->items[left].value, length)) return 1;
    const uint64_t count = seed_count(t, b, left, right, length);
    if (!count) return 1;
    if (!lf_grow(&part->seeds, &part->room, (part->n_seeds + 1) * sizeof *part->seeds)) return 0;
    part->seeds[part->n_seeds++] =
        (lf_seed){count, (uint32_t)(base + left), (uint32_t)(base + right), LF_GONE, (uint16_t)length};
    return 1;
}

/* The nodes of one bucket, children before parents. */
static int find_seeds(lf_unigram_trainer *t, lf_seed_part *part, const bucket *b, size_t base, size_t n) {
    struct {
        size_t left;
        unsigned length;
    } stack[LF_UNIGRAM_LONGEST + 1];
    size_t top = 0;
    stack[0].left = 0;
    stack[0].length = 1;
    for (size_t i = 1; i <= n; i++) {
        const unsigned common = i < n ? b->common[i] : 1, own = t->limit[b->items[i - 1].value];
        size_t left = i - 1;
        if (own > b->common[i - 1] && own > common && !add_seed(t, part, b, base, left, left, own)) return 0;
        for (; stack[top].length > common; top--) {
            left = stack[top].left;
            if (!add_seed(t, part, b, base, left, i - 1, stack[top].length)) return 0;
        }
        if (stack[top].length < common) {
            top++;
            stack[top].left = left;
            stack[top].length = common;
        }
    }
    return 1;
}

lf_status lf_unigram_sort(lf_unigram_trainer *t, size_t part_) {
    lf_seed_part *part = &t->seed_parts[part_];
    bucket b = {.bits = 32u - (unsigned)__builtin_clz(t->n_symbols)};
    b.a_key = 63 / b.bits;
    lf_status status = LF_OK;
    for (uint32_t symbol = part->first_symbol; symbol < part->end_symbol && status == LF_OK; symbol++) {
        const size_t base = t->bucket_at[symbol], n = t->bucket_at[symbol + 1] - base;
        if (!n) continue;
        status = LF_ENOMEM;
        if (!bucket_room(&b, n)) break;
        for (size_t i = 0; i < n; i++) b.items[i].value = t->suffixes[base + i];
        sort_suffixes(t, &b, b.items, b.spare, n, 1);
        b.weights[0] = 0;
        b.common[0] = 1;
        for (size_t i = 0; i < n; i++) {
            t->suffixes[base + i] = (uint32_t)b.items[i].value;
            b.weights[i + 1] = b.weights[i] + (uint64_t)t->counts[t->word_of[b.items[i].value]];
            if (i) b.common[i] = (uint16_t)common_prefix(t, &b, &b.items[i - 1], &b.items[i]);
        }
        if (find_seeds(t, part, &b, base, n)) status = LF_OK;
    }
    free(b.items), free(b.spare), free(b.weights), free(b.common);
    return status;
}

/* Walks over the suffixes of a part from the last. The seeds a suffix begins with are the nodes above it: those are on the
 * stack, from the shortest. Without `fill` the number of edges goes to edge_at, with it the edges to where edge_at says. */
void lf_unigram_exact_link(lf_unigram_trainer *t, size_t part_, int fill) {
    const lf_seed_part *part = &t->seed_parts[part_];
    uint32_t left[LF_UNIGRAM_LONGEST], edge[LF_UNIGRAM_LONGEST];
    size_t n = 0, k = part->n_seeds;
    for (size_t i = t->bucket_at[part->end_symbol]; i-- > t->bucket_at[part->first_symbol];) {
        while (n && left[n - 1] > i) n--;
        for (; k && part->seeds[k - 1].right == i; k--) {
            const lf_seed *seed = &part->seeds[k - 1];
            left[n] = seed->left;
            edge[n++] = seed->piece << LF_EDGE_PIECE | seed->length;
        }
        const uint32_t slot = t->suffixes[i];
        if (!fill) {
            t->edge_at[slot] = (uint32_t)n;
        } else if (n) {
            uint32_t *to = t->edges + t->edge_at[slot] + 1;
            memcpy(to, edge, n * sizeof *edge);
            to[n - 1] |= LF_EDGE_LAST;
        }
    }
}

/* The same walk for fast training: the seeds that a suffix begins with are a chain from the longest. */
void lf_unigram_fast_link(lf_unigram_trainer *t, size_t part_) {
    const lf_seed_part *part = &t->seed_parts[part_];
    uint32_t left[LF_UNIGRAM_LONGEST], piece[LF_UNIGRAM_LONGEST];
    size_t n = 0, k = part->n_seeds;
    for (size_t i = t->bucket_at[part->end_symbol]; i-- > t->bucket_at[part->first_symbol];) {
        while (n && left[n - 1] > i) n--;
        for (; k && part->seeds[k - 1].right == i; k--) {
            const lf_seed *seed = &part->seeds[k - 1];
            t->parent[seed->piece] = n ? piece[n - 1] : LF_GONE;
            left[n] = seed->left;
            piece[n++] = seed->piece;
        }
        t->deepest[t->suffixes[i]] = n ? piece[n - 1] : LF_GONE;
    }
}
