/* team.h - rows shared by threads that somebody else brings.
 *
 * Each thread calls lf_team_work once. It takes the next few rows until none is left, so a thread that the system holds
 * up leaves its rows to the others; which thread has done a row does not show in the result. */
#ifndef LF_LOSS_TEAM_H
#define LF_LOSS_TEAM_H

#include <stdatomic.h>

#include "lf.h"

/* Rows [from, to) of a job, with scratch of one's own. On LF_EINDEX *where is a row. */
typedef lf_status (*lf_team_rows)(const void *job, size_t from, size_t to, void *scratch, size_t *where);

typedef struct {
    lf_team_rows rows;
    const void *job;
    size_t n_rows, n_threads, rows_at_once, scratch_bytes; /* of each thread */
    uint8_t *scratch;
    atomic_size_t next_row, next_thread, bad_row;
} lf_team;

/* Sets up a team. `scratch` has scratch_bytes for each of n_threads. After the work lf_team_bad_row is the first row that
 * was LF_EINDEX, or SIZE_MAX. */
static inline void lf_team_start(lf_team *team, lf_team_rows rows, const void *job, size_t n_rows, size_t n_threads,
                                 uint8_t *scratch, size_t scratch_bytes) {
    size_t share = n_rows / (n_threads * 16);
    team->rows = rows;
    team->job = job;
    team->n_rows = n_rows;
    team->n_threads = n_threads;
    team->rows_at_once = share ? share : 1;
    team->scratch = scratch;
    team->scratch_bytes = scratch_bytes;
    atomic_init(&team->next_row, 0);
    atomic_init(&team->next_thread, 0);
    atomic_init(&team->bad_row, SIZE_MAX);
}

static inline size_t lf_team_bad_row(lf_team *team) { return atomic_load(&team->bad_row); }

/* What one thread does. More threads than n_threads do nothing. */
static inline void lf_team_work(void *data) {
    lf_team *team = data;
    const size_t n = team->n_rows, step = team->rows_at_once, thread = atomic_fetch_add(&team->next_thread, 1);
    if (thread >= team->n_threads) return;
    for (;;) {
        size_t from = atomic_fetch_add(&team->next_row, step), where = 0;
        if (from >= n) return;
        size_t to = step < n - from ? from + step : n;
        if (team->rows(team->job, from, to, team->scratch + thread * team->scratch_bytes, &where) != LF_EINDEX)
            continue;
        size_t first = atomic_load(&team->bad_row);
        while (where < first && !atomic_compare_exchange_weak(&team->bad_row, &first, where)) {
        }
    }
}

#endif
