/* unigram_train.c - the trainer: words, pieces, edges, and the steps between the stages. */
#include "text/unigram_train_state.h"
#include "text/utf8.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

enum { SPACE = 0x2581, UNKNOWN = 0x2585, REPLACEMENT = 0xFFFD };

/* The alphabet. */

static unsigned utf8_write(uint8_t *to, uint32_t c) {
    if (c < 0x80) return to[0] = (uint8_t)c, 1;
    if (c < 0x800) return to[0] = (uint8_t)(0xC0 | c >> 6), to[1] = (uint8_t)(0x80 | (c & 63)), 2;
    if (c < 0x10000) {
        to[0] = (uint8_t)(0xE0 | c >> 12), to[1] = (uint8_t)(0x80 | (c >> 6 & 63)), to[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (uint8_t)(0xF0 | c >> 18), to[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    to[2] = (uint8_t)(0x80 | (c >> 6 & 63)), to[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* The symbols in the order of the characters, the unknown one at its place, as sentencepiece has it in its strings. */
static lf_status new_alphabet(lf_unigram_trainer *t) {
    const lf_unigram_rules *rules = &t->rules;
    t->n_symbols = (uint32_t)rules->n_characters + 2;
    t->character = malloc(t->n_symbols * sizeof *t->character);
    t->script = malloc(t->n_symbols);
    t->bytes = malloc(t->n_symbols);
    t->lead = malloc(t->n_symbols);
    if (!t->character || !t->script || !t->bytes || !t->lead) return LF_ENOMEM;
    uint32_t n = 1;
    t->character[0] = t->script[0] = t->bytes[0] = t->lead[0] = 0;
    for (size_t i = 0; i <= rules->n_characters; i++) {
        const int more = i < rules->n_characters;
        if (!t->unknown && (!more || rules->characters[i] >= UNKNOWN)) {
            t->unknown = n;
            t->character[n] = UNKNOWN;
            t->script[n++] = LF_SCRIPT_COMMON;
        }
        if (!more || rules->characters[i] == UNKNOWN) continue;
        if (rules->characters[i] == SPACE) t->space = n;
        t->character[n] = rules->characters[i];
        t->script[n++] = rules->scripts[i];
    }
    t->n_symbols = n;
    for (uint32_t i = 1; i < n; i++) {
        uint8_t utf8[4];
        t->bytes[i] = (uint8_t)utf8_write(utf8, t->character[i]);
        t->lead[i] = utf8[0];
    }
    return LF_OK;
}

/* The words. */

typedef struct {
    uint32_t *text, *at; /* word i is text[at[i] .. at[i + 1] - 1), then 0 */
    size_t n_words;
} rows;

/* Where the mark behind a word begins, which has at most two newlines and two characters. */
static const uint8_t *word_end(const uint8_t *start, const uint8_t *end) {
    const uint8_t *p = end - start > 10 ? end - 10 : start;
    while (p < end && *p != '\n') p++;
    return p;
}

/* What a mark says of a word's occurrences: what follows them, what follows those at an end, how many of these there are. */
typedef struct {
    uint32_t next, next_line;
    int64_t ends;
} after;

static uint32_t lead_of(const lf_unigram_trainer *t, const uint32_t *symbols, uint32_t c) {
    return c == '\n' ? LF_TEXT_END : t->lead[symbols[c] ? symbols[c] : t->unknown];
}

static after read_mark(const lf_unigram_trainer *t, const uint32_t *symbols, const uint8_t *p, const uint8_t *end,
                       int64_t count) {
    if (p == end) return (after){LF_SPACE_LEAD, LF_NOTHING, 0};
    if (++p == end) return (after){LF_NOTHING, LF_SPACE_LEAD, count};
    const int ends = *p == '\n';
    uint32_t follows = LF_NOTHING;
    for (p += ends; p < end;) {
        uint32_t c;
        p += lf_utf8_read(p, end, &c);
        follows = lf_either(follows, lead_of(t, symbols, c == LF_NO_CHARACTER ? REPLACEMENT : c));
    }
    return ends ? (after){LF_NOTHING, follows, count} : (after){follows, LF_NOTHING, 0};
}

/* A word as a row of symbols and 0, without the mark behind it; where the row ends. */
static uint32_t *read_word(const lf_unigram_trainer *t, const uint32_t *symbols, const uint8_t *p, const uint8_t *end,
                           uint32_t *to) {
    end = word_end(p, end);
    while (p < end) {
        uint32_t c;
        p += lf_utf8_read(p, end, &c);
        if (c == LF_NO_CHARACTER) c = REPLACEMENT;
        *to++ = symbols[c] ? symbols[c] : t->unknown;
    }
    *to++ = 0;
    return to;
}

/* Words as rows of symbols, one behind the other. */
static void read_words(const lf_unigram_trainer *t, const uint32_t *symbols, const uint8_t *blob,
                       const int64_t *offsets, size_t n_words, rows *to) {
    uint32_t *end = to->text;
    for (size_t i = 0; i < n_words; i++) {
        to->at[i] = (uint32_t)(end - to->text);
        end = read_word(t, symbols, blob + offsets[i], blob + offsets[i + 1], end);
    }
    to->at[n_words] = (uint32_t)(end - to->text);
    to->n_words = n_words;
}

static int compare_rows(const uint32_t *x, const uint32_t *y) {
    while (*x && *x == *y) x++, y++;
    return (*x > *y) - (*x < *y);
}

/* Room for n words of n_slots symbols and zeros in all. */
static int words_room(lf_unigram_trainer *t, size_t n, size_t n_slots) {
    t->n_words = n;
    t->text_room = n_slots + 1;
    t->text = lf_pages_new(t->text_room * sizeof *t->text);
    t->word_at = calloc(n + 1, sizeof *t->word_at);
    t->counts = malloc((n + 1) * sizeof *t->counts);
    return t->text && t->word_at && t->counts;
}

/* Word i, whose row ends where the next begins. */
static void add_word(lf_unigram_trainer *t, size_t i, int64_t count, uint32_t end) {
    t->counts[i] = count;
    t->n_occurrences += (double)count * (end - t->word_at[i] - 1);
    t->word_at[i + 1] = t->n_slots = end;
}

/* Sorts words by their symbols: merges ever longer sorted runs. */
static uint32_t *sort_words(const rows *words, uint32_t *order, uint32_t *spare) {
    const size_t n = words->n_words;
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t start = 0; start < n; start += 2 * run) {
            const size_t middle = start + run < n ? start + run : n, end = middle + run < n ? middle + run : n;
            size_t i = start, k = middle;
            for (size_t to = start; to < end; to++) {
                const int second = i == middle || (k < end && compare_rows(words->text + words->at[order[k]],
                                                                           words->text + words->at[order[i]]) < 0);
                spare[to] = order[second ? k++ : i++];
            }
        }
        uint32_t *swap = order;
        order = spare;
        spare = swap;
    }
    return order;
}

static after both(after x, after y) {
    return (after){lf_either(x.next, y.next), lf_either(x.next_line, y.next_line), x.ends + y.ends};
}

/* For exact training: different words by falling count and then by their symbols; or all as they are. */
static lf_status most_frequent_first(lf_unigram_trainer *t, const uint32_t *symbols, const rows *words,
                                     const uint8_t *blob, const int64_t *offsets, const int64_t *counts) {
    const size_t n = words->n_words;
    const int in_order = t->rules.in_order;
    lf_status status = LF_ENOMEM;
    uint32_t *order = malloc((n + 1) * sizeof *order), *spare = malloc((n + 1) * sizeof *spare);
    int64_t *sums = malloc((n + 1) * sizeof *sums);
    after *follows = malloc((n + 1) * sizeof *follows);
    lf_keyed *items = malloc((n + 1) * sizeof *items), *items_spare = malloc((n + 1) * sizeof *items);
    if (!order || !spare || !sums || !follows || !items || !items_spare) goto done;
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    const uint32_t *sorted = in_order ? order : sort_words(words, order, spare);
    size_t n_different = 0;
    uint64_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t word = sorted[i], *row = words->text + words->at[word];
        const uint8_t *end = blob + offsets[word + 1], *mark = word_end(blob + offsets[word], end);
        if (in_order || !n_different || compare_rows(row, words->text + words->at[items[n_different - 1].value])) {
            items[n_different++].value = word;
            sums[word] = 0;
            follows[word] = (after){LF_NOTHING, LF_NOTHING, 0};
        }
        const uint64_t first = items[n_different - 1].value;
        sums[first] += counts[word];
        follows[first] = both(follows[first], read_mark(t, symbols, mark, end, counts[word]));
    }
    for (size_t i = 0; i < n_different && !in_order; i++)
        if ((uint64_t)sums[items[i].value] > most) most = (uint64_t)sums[items[i].value];
    for (size_t i = 0; i < n_different; i++) items[i].key = in_order ? 0 : most - (uint64_t)sums[items[i].value];
    const lf_keyed *by_count = lf_radix_sort(items, items_spare, n_different, most);
    t->ends = malloc((n_different + 1) * sizeof *t->ends);
    t->next = malloc((n_different + 1) * sizeof *t->next);
    t->next_line = malloc((n_different + 1) * sizeof *t->next_line);
    if (!t->ends || !t->next || !t->next_line || !words_room(t, n_different, words->at[n])) goto done;
    for (size_t i = 0; i < n_different; i++) {
        const uint64_t word = by_count[i].value;
        const uint32_t length = words->at[word + 1] - words->at[word];
        memcpy(t->text + t->word_at[i], words->text + words->at[word], length * sizeof *t->text);
        t->ends[i] = follows[word].ends;
        t->next[i] = follows[word].next;
        t->next_line[i] = follows[word].next_line;
        add_word(t, i, sums[word], t->word_at[i] + length);
    }
    status = LF_OK;
done:
    free(order), free(spare), free(sums), free(follows), free(items), free(items_spare);
    return status;
}

/* Sorts words that agree in their first `from` bytes by the bytes behind, up to about as many as matter. */
static void sort_strings(const uint8_t *blob, const int64_t *offsets, lf_keyed *items, lf_keyed *spare, size_t n,
                         size_t from) {
    enum { FEW = 48, MOST = 512 };
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        const int64_t start = offsets[items[i].value] + (int64_t)from, left = offsets[items[i].value + 1] - start;
        uint64_t key = 0;
        for (int64_t k = 0; k < 8; k++) key = key << 8 | (k < left ? blob[start + k] : 0);
        items[i].key = key;
        all |= key;
    }
    if (n <= FEW) {
        lf_insertion_sort(items, n);
    } else {
        const lf_keyed *sorted = lf_radix_sort(items, spare, n, all);
        if (sorted != items) memcpy(items, sorted, n * sizeof *items);
    }
    for (size_t i = 0, end; i < n && from < MOST; i = end) {
        for (end = i + 1; end < n && items[end].key == items[i].key; end++) continue;
        if (end - i > 1 && items[i].key & 255) sort_strings(blob, offsets, items + i, spare, end - i, from + 8);
    }
}

/* For fast training: in alphabetical order, so that words that begin alike are neighbours. */
static lf_status alphabetically(lf_unigram_trainer *t, const uint32_t *symbols, const uint8_t *blob,
                                const int64_t *offsets, const int64_t *counts, size_t n) {
    lf_keyed *items = malloc((n + 1) * sizeof *items), *spare = malloc((n + 1) * sizeof *items);
    lf_status status = LF_ENOMEM;
    if (!items || !spare) goto done;
    for (size_t i = 0; i < n; i++) items[i].value = i;
    sort_strings(blob, offsets, items, spare, n, 0);
    t->shared = malloc((n + 1) * sizeof *t->shared);
    if (!t->shared || !words_room(t, n, (size_t)(offsets[n] - offsets[0]) + n)) goto done;
    const uint32_t *before = NULL;
    for (size_t i = 0; i < n; i++) {
        const uint64_t word = items[i].value;
        uint32_t *row = t->text + t->word_at[i], shared = 0;
        const uint32_t *end = read_word(t, symbols, blob + offsets[word], blob + offsets[word + 1], row);
        while (before && row[shared] && row[shared] == before[shared]) shared++;
        t->shared[i] = shared;
        add_word(t, i, counts[word], (uint32_t)(end - t->text));
        before = row;
    }
    status = LF_OK;
done:
    free(items), free(spare);
    return status;
}

static lf_status new_words(lf_unigram_trainer *t, const uint8_t *blob, const int64_t *offsets, const int64_t *counts,
                           size_t n_words, const uint8_t *last, size_t n_last) {
    const size_t n_rows = t->rules.exact ? (size_t)(offsets[n_words] - offsets[0]) + n_words : 0;
    lf_status status = LF_ENOMEM;
    uint32_t *symbols = calloc(0x110000, sizeof *symbols), *ending = malloc((n_last + 1) * sizeof *ending);
    rows words = {malloc((n_rows + 1) * 4), malloc((n_words + 1) * 4), 0};
    if (!symbols || !ending || !words.text || !words.at) goto done;
    for (uint32_t i = 1; i < t->n_symbols; i++) symbols[t->character[i]] = i;
    if (t->rules.exact) {
        read_words(t, symbols, blob, offsets, n_words, &words);
        status = most_frequent_first(t, symbols, &words, blob, offsets, counts);
    } else {
        status = alphabetically(t, symbols, blob, offsets, counts, n_words);
    }
    if (status != LF_OK || !last) goto done;
    read_word(t, symbols, last, last + n_last, ending);
    for (size_t i = 0; i < t->n_words && t->ends; i++)
        if (t->ends[i] && !compare_rows(t->text + t->word_at[i], ending))
            t->next_line[i] = t->ends[i] > 1 ? lf_either(t->next_line[i], LF_TEXT_END) : LF_TEXT_END;
done:
    free(symbols), free(ending), free(words.text), free(words.at);
    return status;
}

/* The suffixes. */

enum { ANY_SCRIPT = 254, NO_SCRIPT = 255 }; /* goes with every other; of no character: the one before goes on */

static int is_digit(uint32_t c) { return (c >= '0' && c <= '9') || (c >= 0xFF10 && c <= 0xFF19); }

static uint8_t script_of(const lf_unigram_trainer *t, uint32_t symbol) {
    if (symbol == t->space || t->script[symbol] == LF_SCRIPT_INHERITED) return NO_SCRIPT;
    if (!t->rules.split_by_script || (!t->rules.split_by_number && is_digit(t->character[symbol]))) return ANY_SCRIPT;
    return t->script[symbol];
}

/* How long a piece may be that begins in a slot, for each slot of a word from the last: up to the end of the word, an unknown
 * character or a change of scripts. (A change between characters that have one each; what has none is as the one before,
 * so the piece that begins in a slot is bounded as the one that begins at the next character with a script, unless those
 * two differ.) */
static void limit_word(lf_unigram_trainer *t, uint32_t start, uint32_t end) {
    uint32_t bound = end, at = end;
    uint8_t script = NO_SCRIPT;
    for (uint32_t i = end; i-- > start;) {
        const uint32_t symbol = t->text[i];
        const int alone = t->rules.split_digits && is_digit(t->character[symbol]);
        const uint8_t own = script_of(t, symbol);
        if (symbol == t->unknown || alone) {
            t->limit[i] = (uint16_t)(alone && symbol != t->unknown);
            bound = i;
            script = NO_SCRIPT;
            continue;
        }
        if (own != NO_SCRIPT) {
            if (script != NO_SCRIPT && script != ANY_SCRIPT && own != ANY_SCRIPT && own != script) bound = at;
            script = own;
            at = i;
        }
        t->limit[i] = (uint16_t)(bound - i < t->rules.max_length ? bound - i : t->rules.max_length);
    }
}

static int largest_first(const void *x_, const void *y_) {
    const lf_seed_part *x = x_, *y = y_;
    if (x->n_suffixes != y->n_suffixes) return x->n_suffixes < y->n_suffixes ? 1 : -1;
    return (x->first_symbol > y->first_symbol) - (x->first_symbol < y->first_symbol);
}

/* The suffixes that may begin a seed, in a bucket for each first symbol, and the buckets in parts. */
static lf_status new_suffixes(lf_unigram_trainer *t) {
    t->limit = malloc((t->n_slots + 1) * sizeof *t->limit);
    t->word_of = malloc((t->n_slots + 1) * sizeof *t->word_of);
    t->bucket_at = calloc(t->n_symbols + 1, sizeof *t->bucket_at);
    t->seed_parts = calloc(LF_SEED_PARTS + 1, sizeof *t->seed_parts);
    if (!t->limit || !t->word_of || !t->bucket_at || !t->seed_parts) return LF_ENOMEM;
    for (size_t i = 0; i < t->n_words; i++) {
        limit_word(t, t->word_at[i], t->word_at[i + 1] - 1);
        t->limit[t->word_at[i + 1] - 1] = 0;
        for (uint32_t k = t->word_at[i]; k < t->word_at[i + 1]; k++) t->word_of[k] = (uint32_t)i;
    }
    uint32_t n = 0, *next = calloc(t->n_symbols + 1, sizeof *next);
    if (!next) return LF_ENOMEM;
    for (uint32_t i = 0; i < t->n_slots; i++) next[t->text[i]] += t->limit[i] > 1;
    for (uint32_t symbol = 0; symbol < t->n_symbols; symbol++) {
        t->bucket_at[symbol] = n;
        n += next[symbol];
        next[symbol] = t->bucket_at[symbol];
    }
    t->bucket_at[t->n_symbols] = n;
    t->suffixes = malloc((n + 1) * sizeof *t->suffixes);
    if (t->suffixes)
        for (uint32_t i = 0; i < t->n_slots; i++)
            if (t->limit[i] > 1) t->suffixes[next[t->text[i]]++] = i;
    free(next);
    const uint32_t a_part = n / LF_SEED_PARTS + 1;
    for (uint32_t symbol = 0, first = 0; symbol < t->n_symbols; symbol++) {
        if (t->bucket_at[symbol + 1] - t->bucket_at[first] < a_part && symbol + 1 < t->n_symbols) continue;
        t->seed_parts[t->n_seed_parts].first_symbol = first;
        t->seed_parts[t->n_seed_parts].n_suffixes = t->bucket_at[symbol + 1] - t->bucket_at[first];
        t->seed_parts[t->n_seed_parts++].end_symbol = first = symbol + 1;
    }
    qsort(t->seed_parts, t->n_seed_parts, sizeof *t->seed_parts, largest_first);
    return t->suffixes ? LF_OK : LF_ENOMEM;
}

static lf_status check(const lf_unigram_rules *rules, const int64_t *offsets, const int64_t *counts, size_t n_words,
                       size_t *where) {
    int64_t total = 0;
    for (size_t i = 0; i < n_words; i++) {
        int64_t product;
        *where = i;
        if (counts[i] < 1 || offsets[i + 1] < offsets[i]) return LF_EVALUE;
        *where = n_words;
        if (__builtin_mul_overflow(counts[i], offsets[i + 1] - offsets[i] + 1, &product)) return LF_EVALUE;
        if (__builtin_add_overflow(total, product, &total)) return LF_EVALUE;
    }
    *where = n_words + 1;
    if ((uint64_t)(n_words ? offsets[n_words] - offsets[0] : 0) + n_words >= LF_GONE - 1) return LF_EVALUE;
    *where = n_words + 2;
    if (rules->seed_size > LF_UNIGRAM_MOST_PIECES || rules->n_characters > LF_UNIGRAM_MOST_PIECES - rules->seed_size)
        return LF_EVALUE;
    return rules->max_length >= 1 && rules->max_length <= LF_UNIGRAM_LONGEST && rules->n_sums >= 1 ? LF_OK : LF_EVALUE;
}

lf_status lf_unigram_new(lf_unigram_trainer **trainer, const lf_unigram_rules *rules, const uint8_t *blob,
                         const int64_t *offsets, const int64_t *counts, size_t n_words, const uint8_t *last,
                         size_t n_last, size_t *where) {
    *trainer = NULL;
    lf_status status = check(rules, offsets, counts, n_words, where);
    if (status != LF_OK) return status;
    lf_unigram_trainer *t = calloc(1, sizeof *t);
    if (!t) return LF_ENOMEM;
    t->rules = *rules;
    status = new_alphabet(t);
    if (status == LF_OK) status = new_words(t, blob, offsets, counts, n_words, last, n_last);
    if (status == LF_OK) status = new_suffixes(t);
    t->rules.characters = NULL; /* the caller's */
    t->rules.scripts = NULL;
    if (status == LF_OK) *trainer = t;
    else lf_unigram_free(t);
    return status;
}

/* Whether passes over the words may run. */
static int is_begun(const lf_unigram_trainer *t) { return t->weights != NULL; }

/* Lets the system have what was freed between what is still needed. */
static void give_back(void) {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

/* What only the seeds need. */
static void free_suffixes(lf_unigram_trainer *t) {
    for (size_t i = 0; i < t->n_seed_parts; i++) free(t->seed_parts[i].seeds);
    free(t->seed_parts), free(t->limit), free(t->word_of), free(t->suffixes), free(t->bucket_at);
    free(t->deepest), free(t->parent), free(t->letter_of);
    t->n_seed_parts = 0;
    t->seed_parts = NULL;
    t->limit = NULL;
    t->word_of = t->suffixes = t->bucket_at = t->deepest = t->parent = t->letter_of = NULL;
}

static size_t sums_size(const lf_unigram_trainer *t) {
    const size_t n = (size_t)t->n_seeded + 1;
    return t->rules.exact ? n * t->rules.n_sums * sizeof(float) : n * t->n_word_parts * sizeof(double);
}

static void free_sums(lf_unigram_trainer *t) {
    lf_pages_free(t->sums, sums_size(t));
    lf_pages_free(t->weights, ((size_t)t->n_seeded + 1) * sizeof *t->weights);
    t->sums = t->weights = NULL;
}

/* Sums and weights for as many pieces as there are now. */
static int resize(lf_unigram_trainer *t) {
    free_sums(t);
    t->n_seeded = t->n_pieces;
    t->sums = lf_pages_new(sums_size(t));
    t->weights = lf_pages_new(((size_t)t->n_seeded + 1) * sizeof *t->weights);
    return t->sums && t->weights;
}

void lf_unigram_free(lf_unigram_trainer *t) {
    if (!t) return;
    free_suffixes(t);
    for (size_t i = 0; t->word_parts && i < t->n_word_parts; i++) free(t->word_parts[i].edges);
    free(t->shared), free(t->piece_word);
    free(t->character), free(t->script), free(t->bytes), free(t->lead);
    free(t->word_at), free(t->counts), free(t->ends), free(t->next), free(t->next_line), free(t->word_parts),
        free(t->likelihoods);
    free(t->piece_at), free(t->remap), free(t->piece_length), free(t->scores), free(t->numbers), free(t->losses);
    free(t->keeps);
    free_sums(t);
    lf_pages_free(t->text, t->text_room * sizeof *t->text);
    lf_pages_free(t->edge_at, ((size_t)t->n_slots + 1) * sizeof *t->edge_at);
    lf_pages_free(t->edges, t->n_edges * sizeof *t->edges);
    free(t);
}

/* Pieces. */

/* After every change of the scores. */
static void score_unknown(lf_unigram_trainer *t) {
    double worst = HUGE_VAL;
    t->n_dead = 0;
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        t->n_dead += t->scores[i] == -HUGE_VAL;
        if (t->scores[i] < worst && t->scores[i] > -HUGE_VAL) worst = t->scores[i];
    }
    t->scores[t->n_pieces] = worst - LF_UNKNOWN_PENALTY;
    if (t->rules.exact) t->scores[t->n_pieces] = (float)t->scores[t->n_pieces];
    if (!t->rules.exact) lf_unigram_fast_weigh(t);
}

static void gather(void *array_, size_t width, const uint32_t *order, uint32_t n, uint8_t *spare) {
    uint8_t *array = array_;
    for (uint32_t i = 0; i < n; i++) memcpy(spare + width * i, array + width * order[i], width);
    memcpy(array, spare, width * n);
}

/* Renumbers pieces: order[i] is the old number of the new piece i. All others are gone. */
static lf_status renumber(lf_unigram_trainer *t, const uint32_t *order, uint32_t n) {
    uint32_t n_same = 0;
    while (n_same < n && order[n_same] == n_same) n_same++;
    t->is_stale = n_same < t->n_pieces;
    uint8_t *spare = malloc(((size_t)n + 1) * sizeof(double));
    if (!spare) return LF_ENOMEM;
    for (size_t i = 0; i < t->n_pieces; i++) t->remap[i] = LF_GONE;
    for (uint32_t i = 0; i < n; i++) t->remap[order[i]] = i;
    t->remap[t->n_pieces] = n;
    gather(t->piece_at, sizeof *t->piece_at, order, n, spare);
    gather(t->piece_length, sizeof *t->piece_length, order, n, spare);
    if (t->piece_word) gather(t->piece_word, sizeof *t->piece_word, order, n, spare);
    gather(t->scores, sizeof *t->scores, order, n, spare);
    gather(t->numbers, sizeof *t->numbers, order, n, spare);
    gather(t->losses, sizeof *t->losses, order, n, spare);
    free(spare);
    t->n_pieces = n;
    if (!t->rules.exact && n < t->n_seeded / 2 && !resize(t)) return LF_ENOMEM;
    score_unknown(t);
    return LF_OK;
}

/* The pieces that `keeps` does not drop, in their order. */
static lf_status keep_pieces(lf_unigram_trainer *t) {
    uint32_t n = 0, *order = malloc(((size_t)t->n_pieces + 1) * sizeof *order);
    if (!order) return LF_ENOMEM;
    for (uint32_t i = 0; i < t->n_pieces; i++)
        if (t->keeps[i] != LF_DROP) order[n++] = i;
    const lf_status status = renumber(t, order, n);
    free(order);
    return status;
}

typedef struct {
    uint64_t count;
    uint32_t symbol, at;
} letter;

/* The characters of the words, most frequent first. */
static int by_count(const void *x_, const void *y_) {
    const letter *x = x_, *y = y_;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return (x->symbol > y->symbol) - (x->symbol < y->symbol);
}

static uint32_t count_letters(const lf_unigram_trainer *t, letter *letters) {
    for (uint32_t i = 0; i < t->n_symbols; i++) letters[i] = (letter){0, i, LF_GONE};
    for (size_t i = 0; i < t->n_words; i++)
        for (uint32_t k = t->word_at[i]; k + 1 < t->word_at[i + 1]; k++) {
            letter *l = &letters[t->text[k]];
            l->count += (uint64_t)t->counts[i];
            if (l->at == LF_GONE) l->at = k;
        }
    letters[t->unknown].count = 0;
    qsort(letters, t->n_symbols, sizeof *letters, by_count);
    uint32_t n = 0;
    while (n < t->n_symbols && letters[n].count) n++;
    return n;
}

static float seed_score(const lf_seed *seed) { return (float)seed->count * (float)seed->length; }

/* The seeds in the order of their scores, of equals the longer in bytes first, then by their strings; at most n. Strings are
 * in the order of their first suffixes, and where these are equal, the shorter first. */
static lf_seed **best_seeds(lf_unigram_trainer *t, size_t *n) {
    size_t n_seeds = 0;
    for (size_t i = 0; i < t->n_seed_parts; i++) n_seeds += t->seed_parts[i].n_seeds;
    lf_keyed *items = malloc((n_seeds + 1) * sizeof *items), *spare = malloc((n_seeds + 1) * sizeof *spare),
             *sorted = items;
    lf_seed **seeds = malloc((n_seeds + 1) * sizeof *seeds);
    if (items && spare && seeds) {
        uint64_t most = 0;
        size_t k = 0;
        for (size_t i = 0; i < t->n_seed_parts; i++)
            for (size_t s = 0; s < t->seed_parts[i].n_seeds; s++, k++) {
                lf_seed *seed = &t->seed_parts[i].seeds[s];
                items[k].key = (uint64_t)seed->left << 10 | seed->length;
                items[k].value = (uint64_t)(uintptr_t)seed;
                if (items[k].key > most) most = items[k].key;
            }
        sorted = lf_radix_sort(items, spare, n_seeds, most);
        for (k = 0; k < n_seeds; k++) {
            const lf_seed *seed = (const lf_seed *)(uintptr_t)sorted[k].value;
            const uint32_t *symbols = t->text + t->suffixes[seed->left];
            const float score = seed_score(seed);
            uint32_t bits, n_bytes = 0;
            for (unsigned i = 0; i < seed->length; i++) n_bytes += t->bytes[symbols[i]];
            memcpy(&bits, &score, 4); /* positive floats have the order of their bits */
            sorted[k].key = (uint64_t)(0x7F800000u - bits) << 12 | (4095 - n_bytes);
        }
        sorted = lf_radix_sort(sorted, sorted == items ? spare : items, n_seeds, (uint64_t)0x7F800000u << 12 | 4095);
        if (n_seeds < *n) *n = n_seeds;
        for (k = 0; k < *n; k++) seeds[k] = (lf_seed *)(uintptr_t)sorted[k].value;
    } else {
        free(seeds);
        seeds = NULL;
    }
    free(items), free(spare);
    return seeds;
}

static void log_probabilities(lf_unigram_trainer *t) {
    double sum = 0;
    for (uint32_t i = 0; i < t->n_pieces; i++) sum += t->scores[i];
    const double logsum = log(sum);
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        t->scores[i] = log(t->scores[i]) - logsum;
        if (t->rules.exact) t->scores[i] = (float)t->scores[i];
    }
}

static lf_status prepare_edges(lf_unigram_trainer *t) {
    t->edge_at = lf_pages_new(((size_t)t->n_slots + 1) * sizeof *t->edge_at);
    return t->edge_at ? LF_OK : LF_ENOMEM;
}

static lf_status prepare_chains(lf_unigram_trainer *t) {
    t->parent = malloc(((size_t)t->n_pieces + 1) * sizeof *t->parent);
    t->deepest = t->word_of; /* the room is there */
    memset(t->deepest, 0xFF, t->n_slots * sizeof *t->deepest);
    t->word_of = NULL;
    return t->parent ? LF_OK : LF_ENOMEM;
}

lf_status lf_unigram_select(lf_unigram_trainer *t) {
    if (t->remap) return LF_EVALUE;
    free(t->limit);
    t->limit = NULL;
    letter *letters = malloc(t->n_symbols * sizeof *letters);
    if (!letters) return LF_ENOMEM;
    const uint32_t n_letters = count_letters(t, letters);
    size_t n = t->rules.seed_size;
    lf_seed **seeds = best_seeds(t, &n);
    t->n_pieces = t->n_seeded = n_letters + (seeds ? (uint32_t)n : 0);
    const size_t room = (size_t)t->n_pieces + 1;
    t->piece_at = malloc(room * sizeof *t->piece_at);
    t->piece_length = malloc(room * sizeof *t->piece_length);
    t->remap = malloc(room * sizeof *t->remap);
    t->scores = malloc(room * sizeof *t->scores);
    t->numbers = calloc(room, sizeof *t->numbers);
    t->losses = calloc(room, sizeof *t->losses);
    t->keeps = malloc(room);
    t->piece_word = malloc(room * sizeof *t->piece_word);
    lf_status status = LF_ENOMEM;
    if (seeds && t->piece_at && t->piece_length && t->remap && t->scores && t->numbers && t->losses && t->keeps &&
        t->piece_word) {
        for (uint32_t i = 0; i < n_letters; i++) {
            t->piece_at[i] = letters[i].at;
            t->piece_length[i] = 1;
            t->scores[i] = (float)letters[i].count;
        }
        for (uint32_t i = 0; i < n; i++) {
            seeds[i]->piece = n_letters + i;
            t->piece_at[n_letters + i] = t->suffixes[seeds[i]->left];
            t->piece_length[n_letters + i] = seeds[i]->length;
            t->scores[n_letters + i] = seed_score(seeds[i]);
        }
        log_probabilities(t);
        for (size_t i = 0; i < t->n_seed_parts; i++) {
            lf_seed_part *part = &t->seed_parts[i];
            size_t kept = 0;
            for (size_t k = 0; k < part->n_seeds; k++)
                if (part->seeds[k].piece != LF_GONE) part->seeds[kept++] = part->seeds[k];
            part->n_seeds = kept;
        }
        for (uint32_t i = 0; i < t->n_pieces; i++) t->piece_word[i] = t->word_of[t->piece_at[i]];
        status = t->rules.exact ? prepare_edges(t) : prepare_chains(t);
    }
    free(letters), free(seeds);
    return status;
}

/* Edges. */

/* Words in parts of about as many symbols, those that are there once. The sums of all parts take less room than edges. */
static lf_status new_word_parts(lf_unigram_trainer *t) {
    uint64_t all = 0, before = 0;
    for (size_t i = 0; i < t->n_words; i++) all += t->word_at[i + 1] - t->word_at[i] - (t->shared ? t->shared[i] : 0);
    const uint64_t n = all / LF_SYMBOLS_A_SUM + 1, n_few = all / (t->n_pieces + 1) & ~(uint64_t)1;
    t->n_word_parts = n < LF_WORD_PARTS ? (size_t)n : LF_WORD_PARTS;
    if (!t->rules.exact && t->n_word_parts > n_few) t->n_word_parts = n_few ? (size_t)n_few : 1;
    t->word_parts = calloc(t->n_word_parts, sizeof *t->word_parts);
    if (!t->word_parts) return LF_ENOMEM;
    uint32_t word = 0;
    for (size_t i = 0; i < t->n_word_parts; i++) {
        const uint64_t most = all * (i + 1) / t->n_word_parts;
        t->word_parts[i].first_word = word;
        for (; word < t->n_words && (before < most || i + 1 == t->n_word_parts); word++)
            before += t->word_at[word + 1] - t->word_at[word] - (t->shared ? t->shared[word] : 0);
        t->word_parts[i].end_word = word;
        if (t->shared && word < t->n_words) t->shared[word] = 0;
    }
    return LF_OK;
}

/* Room for the edges of all slots, and those of their single symbols. */
static lf_status lay_edges(lf_unigram_trainer *t) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->n_slots; i++) n += t->text[i] ? t->edge_at[i] + 1 : 0;
    if (n >= LF_GONE) return LF_EINDEX;
    t->edges = lf_pages_new((n + 1) * sizeof *t->edges);
    if (!t->edges) return LF_ENOMEM;
    t->n_edges = n + 1;
    uint32_t at = 0;
    for (uint32_t i = 0; i < t->n_slots; i++) {
        const uint32_t more = t->edge_at[i];
        t->edge_at[i] = at;
        if (!t->text[i]) continue;
        t->edges[at] = t->letter_of[t->text[i]] << LF_EDGE_PIECE | (more ? 0 : LF_EDGE_LAST) | 1;
        at += 1 + more;
    }
    return LF_OK;
}

/* What the links were needed for. */
static void free_links(lf_unigram_trainer *t) {
    for (size_t i = 0; i < t->n_seed_parts; i++) free(t->seed_parts[i].seeds);
    free(t->seed_parts), free(t->suffixes), free(t->bucket_at);
    t->n_seed_parts = 0;
    t->seed_parts = NULL;
    t->suffixes = t->bucket_at = NULL;
    give_back();
}

lf_status lf_unigram_lay(lf_unigram_trainer *t) {
    if (!t->remap || t->word_parts) return LF_EVALUE;
    t->letter_of = malloc(t->n_symbols * sizeof *t->letter_of);
    if (!t->letter_of) return LF_ENOMEM;
    for (uint32_t i = 0; i < t->n_symbols; i++) t->letter_of[i] = t->n_pieces;
    for (uint32_t i = 0; i < t->n_pieces && t->piece_length[i] == 1; i++) t->letter_of[t->text[t->piece_at[i]]] = i;
    const lf_status status = t->rules.exact ? lay_edges(t) : LF_OK;
    if (!t->rules.exact) free_links(t);
    return status == LF_OK ? new_word_parts(t) : status;
}

lf_status lf_unigram_begin(lf_unigram_trainer *t) {
    if (!t->word_parts || is_begun(t)) return LF_EVALUE;
    for (size_t i = 0; i < t->n_word_parts && !t->rules.exact; i++)
        if (t->word_parts[i].first_word < t->word_parts[i].end_word && !t->word_parts[i].edges) return LF_EVALUE;
    free_suffixes(t);
    give_back();
    t->likelihoods = calloc(t->rules.n_sums, sizeof *t->likelihoods);
    if (!t->likelihoods || !resize(t)) return LF_ENOMEM;
    t->scale = 3; /* nats a symbol, at first */
    score_unknown(t);
    return LF_OK;
}

/* Takes the edges of dropped pieces out, in place. A slot whose character is no piece any more gets the unknown one, last
 * as in sentencepiece. */
static void compact(lf_unigram_trainer *t, const lf_word_part *part) {
    if (part->first_word == part->end_word) return;
    uint32_t *const edges = t->edges, *const edge_at = t->edge_at;
    const uint32_t *const remap = t->remap, unknown = t->n_pieces << LF_EDGE_PIECE | 1;
    const uint32_t first_slot = t->word_at[part->first_word], end_slot = t->word_at[part->end_word];
    uint32_t to = edge_at[first_slot], k = to;
    for (uint32_t i = first_slot; i < end_slot; i++) {
        edge_at[i] = to;
        if (!t->text[i]) continue;
        uint32_t alone = 0, edge;
        do {
            edge = edges[k++];
            const uint32_t length = edge & LF_EDGE_LENGTH, piece = remap[edge >> LF_EDGE_PIECE];
            edges[to] = piece << LF_EDGE_PIECE | length;
            to += piece != LF_GONE;
            alone |= piece != LF_GONE && length == 1;
        } while (!(edge & LF_EDGE_LAST));
        if (!alone) edges[to++] = unknown;
        edges[to - 1] |= LF_EDGE_LAST;
    }
}

/* Stages and steps. */

size_t lf_unigram_parts(const lf_unigram_trainer *t, lf_unigram_stage stage) {
    switch (stage) {
    case LF_UNIGRAM_SORT: return t->remap ? 0 : t->n_seed_parts;
    case LF_UNIGRAM_LINK: return t->remap && !t->word_parts ? t->n_seed_parts : 0;
    case LF_UNIGRAM_FILL:
        if (!t->word_parts || is_begun(t)) return 0;
        return t->rules.exact ? t->n_seed_parts : t->n_word_parts;
    default: break;
    }
    if (!is_begun(t)) return 0;
    switch (stage) {
    case LF_UNIGRAM_EXPECT:
    case LF_UNIGRAM_VITERBI: return t->rules.exact ? t->rules.n_sums : t->n_word_parts;
    case LF_UNIGRAM_COMPACT: return t->is_stale ? t->n_word_parts : 0;
    case LF_UNIGRAM_LOSS:
    case LF_UNIGRAM_SHADOW: return t->rules.exact ? LF_PIECE_PARTS : t->n_word_parts;
    default: return 0;
    }
}

lf_status lf_unigram_run(lf_unigram_trainer *t, lf_unigram_stage stage, size_t part) {
    const uint32_t first = (uint32_t)((uint64_t)t->n_pieces * part / LF_PIECE_PARTS);
    const uint32_t end = (uint32_t)((uint64_t)t->n_pieces * (part + 1) / LF_PIECE_PARTS);
    const int exact = t->rules.exact;
    switch (stage) {
    case LF_UNIGRAM_SORT: return lf_unigram_sort(t, part);
    case LF_UNIGRAM_LINK:
        if (exact) lf_unigram_exact_link(t, part, 0);
        else lf_unigram_fast_link(t, part);
        return LF_OK;
    case LF_UNIGRAM_FILL:
        if (exact) return lf_unigram_exact_link(t, part, 1), LF_OK;
        return lf_unigram_fast_fill(t, part);
    case LF_UNIGRAM_EXPECT: return exact ? lf_unigram_exact_expect(t, part) : lf_unigram_fast_expect(t, part);
    case LF_UNIGRAM_VITERBI: return exact ? lf_unigram_exact_viterbi(t, part) : lf_unigram_fast_viterbi(t, part);
    case LF_UNIGRAM_COMPACT:
        if (exact) compact(t, &t->word_parts[part]);
        else lf_unigram_fast_compact(t, part);
        return LF_OK;
    case LF_UNIGRAM_LOSS: return exact ? lf_unigram_exact_loss(t, first, end) : lf_unigram_fast_loss(t, part);
    case LF_UNIGRAM_SHADOW: return exact ? lf_unigram_exact_shadow(t, first, end) : lf_unigram_fast_shadow(t, part);
    default: return LF_EVALUE;
    }
}

lf_status lf_unigram_add(lf_unigram_trainer *t, double *log_likelihood) {
    if (!is_begun(t)) return LF_EVALUE;
    *log_likelihood = t->rules.exact ? lf_unigram_exact_add(t) : lf_unigram_fast_add(t);
    return LF_OK;
}

lf_status lf_unigram_maximize(lf_unigram_trainer *t) {
    if (!is_begun(t)) return LF_EVALUE;
    if (t->rules.exact) lf_unigram_exact_maximize(t);
    else lf_unigram_fast_maximize(t);
    return keep_pieces(t);
}

/* First those that must stay, in their order, then by falling loss. sentencepiece stops when it has exactly `target`: where
 * more must stay, it keeps all. */
lf_status lf_unigram_prune(lf_unigram_trainer *t, size_t target) {
    if (!is_begun(t)) return LF_EVALUE;
    const size_t room = (size_t)t->n_pieces + 1;
    uint32_t n = 0, *order = malloc(room * sizeof *order);
    lf_keyed *items = malloc(room * sizeof *items), *spare = malloc(room * sizeof *spare);
    lf_status status = LF_ENOMEM;
    if (order && items && spare) {
        size_t n_items = 0;
        for (uint32_t i = 0; i < t->n_pieces; i++) {
            if (t->keeps[i] == LF_KEEP) order[n++] = i;
            if (t->keeps[i] == LF_KEEP_IF_WORTH) items[n_items++] = (lf_keyed){lf_descending(t->losses[i]), i};
        }
        const lf_keyed *sorted = lf_radix_sort(items, spare, n_items, UINT64_MAX);
        for (size_t i = 0; i < n_items && (t->rules.exact ? n != target : n < target); i++)
            order[n++] = (uint32_t)sorted[i].value;
        status = renumber(t, order, n);
    }
    free(order), free(items), free(spare);
    return status;
}

lf_status lf_unigram_reach(lf_unigram_trainer *t) { return is_begun(t) ? keep_pieces(t) : LF_EVALUE; }

/* Results. */

size_t lf_unigram_alive(const lf_unigram_trainer *t) { return t->n_pieces - t->n_dead; }

size_t lf_unigram_size(const lf_unigram_trainer *t, size_t *n_bytes) {
    *n_bytes = 0;
    for (uint32_t i = 0; i < t->n_pieces; i++)
        for (unsigned k = 0; k < t->piece_length[i]; k++) *n_bytes += t->bytes[t->text[t->piece_at[i] + k]];
    return t->n_pieces;
}

void lf_unigram_pieces(const lf_unigram_trainer *t, uint8_t *blob, int64_t *offsets, double *scores, double *numbers,
                       double *losses) {
    int64_t at = 0;
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        offsets[i] = at;
        scores[i] = t->scores[i];
        numbers[i] = t->numbers[i];
        losses[i] = t->losses[i];
        for (unsigned k = 0; k < t->piece_length[i]; k++)
            at += utf8_write(blob + at, t->character[t->text[t->piece_at[i] + k]]);
    }
    offsets[t->n_pieces] = at;
}

void lf_unigram_count_characters(const uint8_t *blob, const int64_t *offsets, const int64_t *word_counts,
                                 size_t n_words, int64_t *counts) {
    memset(counts, 0, 0x110000 * sizeof *counts);
    for (size_t i = 0; i < n_words; i++) {
        const uint8_t *p = blob + offsets[i], *end = word_end(p, blob + offsets[i + 1]);
        while (p < end) {
            uint32_t c;
            p += lf_utf8_read(p, end, &c);
            counts[c == LF_NO_CHARACTER ? REPLACEMENT : c] += word_counts[i];
        }
    }
}
