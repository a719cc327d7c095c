/* Tells ThreadSanitizer what GNU's OpenMP, which is compiled without it, orders: what precedes a parallel region is done
before its threads begin, and what these do before it ends, and before a barrier. Loaded before libgomp. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

typedef void Region(void *);
typedef struct {
    Region *function;
    void *data;
    char begin, end;
} Parallel;

static void inside(void *of) {
    Parallel *p = of;
    __tsan_acquire(&p->begin);
    p->function(p->data);
    __tsan_release(&p->end);
}

void GOMP_parallel(Region *function, void *data, unsigned threads, unsigned flags) {
    void (*next)(Region *, void *, unsigned, unsigned) = dlsym(RTLD_NEXT, "GOMP_parallel");
    Parallel p = {function, data};
    __tsan_release(&p.begin);
    next(inside, &p, threads, flags);
    __tsan_acquire(&p.end);
}

static char barrier;

static void wait_in(const char *name) {
    void (*next)(void) = dlsym(RTLD_NEXT, name);
    __tsan_release(&barrier);
    next();
    __tsan_acquire(&barrier);
}

void GOMP_barrier(void) { wait_in("GOMP_barrier"); }
void GOMP_loop_end(void) { wait_in("GOMP_loop_end"); }
