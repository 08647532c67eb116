/* bpe_train_body.h - the part of the trainer that reads and writes slots; included by bpe_train.c once for each width, with
 * SLOT, SEP (between words) and NAME. */

static uint32_t NAME(separate)(SLOT *slots, uint32_t at) {
    slots[at] = (SLOT)SEP;
    return at + 1;
}

/* Writes a word and what separates it from the next. One symbol alone has no pair and is left out. */
static uint32_t NAME(write)(SLOT *slots, uint32_t at, const lf_bpe_words *w, size_t word) {
    const uint8_t *bytes = w->blob;
    const uint32_t *ids = w->blob;
    uint32_t start = at;
    for (int64_t i = w->offsets[word]; i < w->offsets[word + 1]; i++) {
        const uint32_t id = w->symbols ? w->symbols[bytes[i]] : ids[i];
        if (id < LF_A_BREAK) {
            slots[at++] = (SLOT)id;
        } else if (id == LF_A_BREAK) {
            start = at = at - start < 2 ? start : NAME(separate)(slots, at);
        }
    }
    return at - start < 2 ? start : NAME(separate)(slots, at);
}

/* Finds all pairs that the slots have, forgetting those below the floor, and queues the others. */
static lf_status NAME(scan)(lf_bpe_trainer *t) {
    const SLOT *slots = t->slots;
    const uint32_t *lengths = t->lengths;
    uint32_t *front = calloc(FRONT * FRONT, sizeof *front); /* pair + 1, where both ids are small */
    if (!front) return LF_ENOMEM;
    t->n_pairs = 0;
    t->n_heap = 0;
    free_blocks(t);
    lf_status status = rehash(t, 12);
    for (int pass = 0; pass < 2 && status == LF_OK; pass++) {
        uint32_t run = 0;
        for (uint32_t at = 0, next; at < t->n_slots; at = next) {
            const uint32_t a = slots[at];
            next = at + 1;
            if (a == SEP) continue;
            next = at + lengths[a];
            const uint32_t b = slots[next];
            if (b == SEP) continue;
            const int small = a < FRONT && b < FRONT;
            uint32_t which = small ? front[a * FRONT + b] - 1 : find_pair(t, (uint64_t)a << 32 | b);
            if (pass == 0) {
                if (which == NO_PAIR) {
                    if (!may_join(t, a, b)) continue;
                    which = t->n_pairs;
                    if ((status = new_pair(t, (uint64_t)a << 32 | b, 0, 0, NULL)) != LF_OK) break;
                    if ((status = keep(t, (uint64_t)a << 32 | b)) != LF_OK) break;
                    if (small) front[a * FRONT + b] = which + 1;
                }
                while (at >= t->run_starts[run + 1]) run++;
                t->pairs[which].count += t->run_weights[run];
                t->pairs[which].n_places++;
            } else if (which != NO_PAIR) {
                t->pairs[which].places[t->pairs[which].n_places++] = at;
            }
        }
        if (pass || status != LF_OK) break;
        uint32_t n = 0;
        memset(front, 0, FRONT * FRONT * sizeof *front);
        for (uint32_t i = 0; i < t->n_pairs && status == LF_OK; i++) {
            pair *p = &t->pairs[n];
            if (t->pairs[i].count < t->floor) continue;
            *p = t->pairs[i];
            p->places = new_places(t, p->n_places);
            if (!p->places) status = LF_ENOMEM;
            p->n_places = 0;
            const uint64_t a = p->key >> 32, b = p->key & 0xFFFFFFFF;
            n++;
            if (a < FRONT && b < FRONT) front[a * FRONT + b] = n;
        }
        t->n_pairs = n;
        if (status == LF_OK) status = rehash(t, t->table_bits);
    }
    free(front);
    for (uint32_t i = 0; i < t->n_pairs && status == LF_OK; i++) status = push(t, i);
    return status;
}

static inline int NAME(holds)(const SLOT *slots, uint32_t place, uint32_t a, uint32_t b, uint32_t length) {
    return slots[place] == a && slots[place + length - 1] == a && slots[place + length] == b;
}

/* Brings the pair to merge next to the top of the queue; 0 if no pair is left. */
static int NAME(best)(lf_bpe_trainer *t) {
    while (t->n_heap) {
        candidate x = t->heap[0];
        pair *p = &t->pairs[x.pair];
        if (p->count < t->floor) {
            pop(t);
            continue;
        }
        if (t->rules.ties == LF_TIES_FIRST) {
            const uint32_t a = (uint32_t)(p->key >> 32), b = (uint32_t)p->key;
            while (p->n_places > 1 && !NAME(holds)(t->slots, p->places[0], a, b, t->lengths[a]))
                p->places++, p->n_places--;
            x.tie = p->places[0];
        }
        if (x.tie == t->heap[0].tie && x.count == p->count) return 1;
        x.count = p->count;
        sink(t, 0, x);
    }
    return 0;
}

static inline void NAME(touch)(delta *d, uint32_t *touched, uint32_t *n_touched, uint32_t neighbour, uint64_t weight) {
    if (!d->touched) {
        d->touched = 1;
        touched[(*n_touched)++] = neighbour;
    }
    d->weight += weight;
    d->n++;
}

/* The pairs with one neighbour after a merge: one has become rarer, one is new. */
static lf_status NAME(settle)(lf_bpe_trainer *t, delta *d, uint64_t old, uint64_t new) {
    const uint32_t which = find_pair(t, old);
    const uint64_t weight = d->weight;
    /* The pair that is being merged, where both its symbols are the same, has no count left to lose. */
    if (which != NO_PAIR && t->pairs[which].count) t->pairs[which].count -= weight;
    const uint32_t a = (uint32_t)(new >> 32), b = (uint32_t)new;
    d->cursor = NULL;
    if (!t->rules.keeps && (!d->n || weight < t->floor)) return LF_OK;
    if (!may_join(t, a, b)) return LF_OK;
    if (keep(t, new) != LF_OK) return LF_ENOMEM;
    if (!d->n || weight < t->floor) return LF_OK;
    d->cursor = new_places(t, d->n);
    return d->cursor ? new_pair(t, new, weight, d->n, d->cursor) : LF_ENOMEM;
}

/* The slots written anew, one for each symbol; places that hold n_ids get `id`. */
static void NAME(compact)(lf_bpe_trainer *t, uint32_t id) {
    SLOT *slots = t->slots;
    uint32_t to = 0, run = 0;
    for (uint32_t at = 0; at < t->n_slots;) {
        while (at >= t->run_starts[run + 1]) t->run_starts[++run] = to;
        const uint32_t a = slots[at];
        at += a == SEP ? 1 : t->lengths[a];
        slots[to++] = (SLOT)(a == t->rules.n_ids ? id : a);
    }
    while (t->run_starts[run + 1] != UINT32_MAX) t->run_starts[++run] = to;
    t->n_slots = to;
    for (uint32_t i = 0; i < t->next_id; i++) t->lengths[i] = t->lengths[i] > 0;
}

/* Makes a symbol that there is already. */
static lf_status NAME(repeat)(lf_bpe_trainer *t, pair p, uint32_t id) {
    SLOT *slots = t->slots;
    const uint32_t a = (uint32_t)(p.key >> 32), b = (uint32_t)p.key;
    const uint32_t length = t->lengths[a], both = length + t->lengths[b];
    t->lengths[t->rules.n_ids] = both;
    for (uint32_t i = 0; i < p.n_places; i++) {
        const uint32_t at = p.places[i];
        if (NAME(holds)(slots, at, a, b, length)) slots[at] = slots[at + both - 1] = (SLOT)t->rules.n_ids;
    }
    NAME(compact)(t, id);
    t->lengths[t->rules.n_ids] = 0;
    index_runs(t);
    return NAME(scan)(t);
}

static lf_status NAME(merge)(lf_bpe_trainer *t, uint32_t which) {
    SLOT *slots = t->slots;
    const pair p = t->pairs[which];
    const uint32_t a = (uint32_t)(p.key >> 32), b = (uint32_t)p.key, none = t->rules.n_ids;
    const uint32_t length = t->lengths[a], both = length + t->lengths[b], first_pair = t->n_pairs;
    uint32_t id;
    if (!lf_grow(&t->occurrences, &t->occurrences_room, p.n_places * sizeof(occurrence))) return LF_ENOMEM;
    if (!lf_grow(&t->merges, &t->merges_room, (t->n_merges + 1) * sizeof *t->merges)) return LF_ENOMEM;
    if (new_symbol(t, a, b, &id) != LF_OK) return LF_ENOMEM;
    t->merges[t->n_merges++] = (lf_bpe_merge){a, b, id, (int64_t)p.count};
    if (t->lengths[id]) return NAME(repeat)(t, p, id);
    t->lengths[id] = both;
    t->pairs[which].count = 0;
    t->pairs[which].n_places = 0;

    occurrence *found = t->occurrences;
    uint32_t n_found = 0, n_left = 0, n_right = 0, run = 0;
    for (uint32_t i = 0; i < p.n_places; i++) {
        const uint32_t at = p.places[i];
        if (i + AHEAD < p.n_places) __builtin_prefetch(&slots[p.places[i + AHEAD]]);
        if (!NAME(holds)(slots, at, a, b, length)) continue;
        run = run_at(t, run, at);
        const uint64_t weight = t->run_weights[run];
        occurrence *o = &found[n_found++];
        *o = (occurrence){at, slots[at - 1], slots[at + both]};
        slots[at] = slots[at + both - 1] = (SLOT)id;
        if (o->left == id) {
            /* The neighbour was merged just before, and took its right neighbour for what it was then. */
            delta *d = &t->right[a];
            d->weight -= weight;
            d->n--;
            o[-1].right = none;
        }
        if (o->left == SEP) o->left = none;
        else NAME(touch)(&t->left[o->left], t->touched_left, &n_left, o->left, weight);
        if (o->right == SEP) o->right = none;
        else NAME(touch)(&t->right[o->right], t->touched_right, &n_right, o->right, weight);
    }

    lf_status status = LF_OK;
    for (uint32_t i = 0; i < n_left; i++)
        __builtin_prefetch(&t->table[slot_of(t, (uint64_t)t->touched_left[i] << 32 | a)]);
    for (uint32_t i = 0; i < n_right; i++)
        __builtin_prefetch(&t->table[slot_of(t, (uint64_t)b << 32 | t->touched_right[i])]);
    for (uint32_t i = 0; i < n_left && status == LF_OK; i++) {
        const uint64_t l = t->touched_left[i];
        status = NAME(settle)(t, &t->left[l], (l == id ? b : l) << 32 | a, l << 32 | id);
    }
    for (uint32_t i = 0; i < n_right && status == LF_OK; i++) {
        const uint64_t r = t->touched_right[i];
        status = NAME(settle)(t, &t->right[r], (uint64_t)b << 32 | r, (uint64_t)id << 32 | r);
    }
    if (status == LF_OK && t->n_pairs > first_pair) {
        for (uint32_t i = 0; i < n_found; i++) {
            const occurrence o = found[i];
            delta *l = &t->left[o.left], *r = &t->right[o.right];
            if (l->cursor) *l->cursor++ = o.at - t->lengths[o.left];
            if (r->cursor) *r->cursor++ = o.at;
        }
        for (uint32_t i = first_pair; i < t->n_pairs && status == LF_OK; i++) status = push(t, i);
    }
    for (uint32_t i = 0; i < n_left; i++) t->left[t->touched_left[i]] = (delta){0};
    for (uint32_t i = 0; i < n_right; i++) t->right[t->touched_right[i]] = (delta){0};
    return status;
}
