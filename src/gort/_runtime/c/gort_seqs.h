/* gort_seqs.h: a table of sequences of words.  Each different one has a number, from 0.
 *
 * It numbers equal stacks, for dumps (gort_stacks.h) and traces (gort_trace.h), and groups equal goroutines.  Memory is the
 * C library's, so the table may grow while the world is stopped and on the scheduler's stack.  What does not live here:
 * what the words mean.
 */
#ifndef GORT_SEQS_H
#define GORT_SEQS_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint64_t hash; size_t at; int n; } rt_seq;
typedef struct {
    uintptr_t *words;                                     /* all sequences, one after another */
    size_t used, room;
    rt_seq *seqs;
    int count, seqroom;
    int *slots;                                           /* open addressing: the number + 1; a power of two of them */
    size_t nslots;
} rt_seqs;

static rt_seqs *rt_seqs_new(void) { return (rt_seqs *)calloc(1, sizeof(rt_seqs)); }

static inline void rt_seqs_free(rt_seqs *t) {
    if (t == NULL) return;
    free(t->words);
    free(t->seqs);
    free(t->slots);
    free(t);
}

/* Makes room for one more sequence of n words.  -1 where there is no memory. */
static int rt_seqs_grow(rt_seqs *t, int n) {
    if (t->used + (size_t)n > t->room) {
        size_t room = 2 * (t->used + (size_t)n) + 256;
        uintptr_t *words = (uintptr_t *)realloc(t->words, room * sizeof *words);
        if (words == NULL) return -1;
        t->words = words;
        t->room = room;
    }
    if (t->count == t->seqroom) {
        int room = 2 * t->seqroom + 32;
        rt_seq *seqs = (rt_seq *)realloc(t->seqs, (size_t)room * sizeof *seqs);
        if (seqs == NULL) return -1;
        t->seqs = seqs;
        t->seqroom = room;
    }
    if (2 * (size_t)(t->count + 1) > t->nslots) {
        size_t nslots = t->nslots ? 2 * t->nslots : 64;
        int *slots = (int *)calloc(nslots, sizeof *slots);
        if (slots == NULL) return -1;
        for (int i = 0; i < t->count; i++) {
            size_t at = (size_t)t->seqs[i].hash & (nslots - 1);
            while (slots[at]) at = (at + 1) & (nslots - 1);
            slots[at] = i + 1;
        }
        free(t->slots);
        t->slots = slots;
        t->nslots = nslots;
    }
    return 0;
}

/* The number of this sequence; t->count is one higher than before if it is new.  -1 where there is no memory. */
static int rt_seqs_number(rt_seqs *t, const uintptr_t *words, int n) {
    uint64_t hash = (uint64_t)n + 1;
    for (int i = 0; i < n; i++) {
        hash = (hash ^ (uint64_t)words[i]) * 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 29;
    }
    if (rt_seqs_grow(t, n) < 0) return -1;
    size_t at = (size_t)hash & (t->nslots - 1);
    for (; t->slots[at]; at = (at + 1) & (t->nslots - 1)) {
        const rt_seq *seq = &t->seqs[t->slots[at] - 1];
        if (seq->hash == hash && seq->n == n && memcmp(t->words + seq->at, words, (size_t)n * sizeof *words) == 0)
            return t->slots[at] - 1;
    }
    rt_seq fresh = { hash, t->used, n };
    memcpy(t->words + t->used, words, (size_t)n * sizeof *words);
    t->used += (size_t)n;
    t->seqs[t->count] = fresh;
    t->slots[at] = ++t->count;
    return t->count - 1;
}
#endif
