/* team.h - a job of cross_entropy.h shared by threads that somebody else brings.
 *
 * Each thread calls lf_team_work once. It takes the next few rows until none is left, so a thread that the system holds
 * up leaves its rows to the others; which thread has done a row does not show in the result. */
#ifndef LF_LOSS_TEAM_H
#define LF_LOSS_TEAM_H

#include <stdatomic.h>

#include "loss/cross_entropy.h"

typedef struct {
    const lf_cross_entropy *job;
    const lf_cross_entropy_ops *ops;
    uint8_t *scratch; /* lf_cross_entropy_scratch(job) bytes for each of n_threads */
    size_t n_threads, rows_at_once;
    atomic_size_t next_row, next_thread, bad_row; /* 0, 0, SIZE_MAX */
} lf_team;

/* Sets up a team. Afterwards bad_row is the first row whose label is to raise, or SIZE_MAX. */
static inline void lf_team_start(lf_team *team, const lf_cross_entropy *job, const lf_cross_entropy_ops *ops,
                                 uint8_t *scratch, size_t n_threads) {
    size_t share = job->n_rows / (n_threads * 16);
    team->job = job;
    team->ops = ops;
    team->scratch = scratch;
    team->n_threads = n_threads;
    team->rows_at_once = share ? share : 1;
    atomic_init(&team->next_row, 0);
    atomic_init(&team->next_thread, 0);
    atomic_init(&team->bad_row, SIZE_MAX);
}

/* What one thread does. More threads than n_threads do nothing. */
static inline void lf_team_work(lf_team *team) {
    const size_t n = team->job->n_rows, step = team->rows_at_once;
    const size_t thread = atomic_fetch_add(&team->next_thread, 1);
    if (thread >= team->n_threads) return;
    uint8_t *scratch = team->scratch + thread * lf_cross_entropy_scratch(team->job);
    for (;;) {
        size_t from = atomic_fetch_add(&team->next_row, step), where = 0;
        if (from >= n) return;
        size_t to = step < n - from ? from + step : n;
        if (team->ops->rows(team->job, from, to, scratch, &where) != LF_EINDEX) continue;
        size_t first = atomic_load(&team->bad_row);
        while (where < first && !atomic_compare_exchange_weak(&team->bad_row, &first, where)) {}
    }
}

#endif
