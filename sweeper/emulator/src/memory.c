/* CUDA runtime: device and pinned memory in host memory, and copies between them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime.h"

typedef struct {
    char *start;
    size_t size;
    int card, ordinal;
} Range;

static Range *ranges;
static int n_ranges, room;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void add_range(void *start, size_t size, int card) {
    pthread_mutex_lock(&mutex);
    if (n_ranges == room) {
        room = room ? 2 * room : 256;
        ranges = realloc(ranges, room * sizeof *ranges);
        if (!ranges) abort();
    }
    ranges[n_ranges++] = (Range){start, size, card, current_ordinal()};
    pthread_mutex_unlock(&mutex);
}

size_t drop_range(void *start, int *card) {
    size_t size = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < n_ranges && !size; i++)
        if (ranges[i].start == start) {
            size = ranges[i].size, *card = ranges[i].card;
            ranges[i] = ranges[--n_ranges];
        }
    pthread_mutex_unlock(&mutex);
    return size;
}

static int find_range(const char *address, Range *out) {
    int found = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < n_ranges && !found; i++)
        if (address >= ranges[i].start && address < ranges[i].start + ranges[i].size)
            *out = ranges[i], found = 1;
    pthread_mutex_unlock(&mutex);
    return found;
}

/* Pages of zeros, which take no host memory until they are written. */
static cudaError_t take_pages(void **out, size_t size, int card) {
    void *start = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return fail(cudaErrorMemoryAllocation);
    add_range(start, size, card);
    *out = start;
    return cudaSuccess;
}

static cudaError_t free_pages(void *start) {
    int card;
    if (!start) return cudaSuccess;
    size_t size = drop_range(start, &card);
    if (!size) return fail(cudaErrorInvalidValue);
    munmap(start, size);
    if (card != PINNED) card_give(card, ROUND_UP(size, PAGE));
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t size) {
    NEED_CONTEXT();
    int card = current_card();
    *out = NULL;
    if (!size) return cudaSuccess;
    if (card_take(card, ROUND_UP(size, PAGE))) return fail(cudaErrorMemoryAllocation);
    cudaError_t code = take_pages(out, size, card);
    if (code) card_give(card, ROUND_UP(size, PAGE));
    return code;
}

cudaError_t cudaFree(void *start) {
    NEED_CONTEXT();
    return free_pages(start);
}

cudaError_t cudaMallocAsync(void **out, size_t size, cudaStream_t stream) {
    (void)stream;
    return cudaMalloc(out, size);
}

cudaError_t cudaFreeAsync(void *start, cudaStream_t stream) {
    (void)stream;
    return cudaFree(start);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    NEED_CONTEXT();
    *total = card_capacity(current_card());
    *available = *total - card_used(current_card());
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **out, size_t size, unsigned flags) {
    (void)flags;
    NEED_CONTEXT();
    return take_pages(out, size ? size : 1, PINNED);
}

cudaError_t cudaFreeHost(void *start) { return free_pages(start); }

cudaError_t cudaHostRegister(void *start, size_t size, unsigned flags) {
    (void)start, (void)size, (void)flags;
    return open_context();
}

cudaError_t cudaHostUnregister(void *start) {
    (void)start;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *out, const void *address) {
    Range range;
    *out = (struct cudaPointerAttributes){
        .type = cudaMemoryTypeUnregistered, .device = -2, .hostPointer = (void *)address};
    if (!find_range(address, &range)) return cudaSuccess;
    out->type = range.card == PINNED ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
    out->device = range.ordinal;
    out->devicePointer = (void *)address;
    if (range.card != PINNED) out->hostPointer = NULL;
    return cudaSuccess;
}

/* ---- copies ------------------------------------------------------------------------------ */

cudaError_t cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind) {
    (void)kind;
    NEED_CONTEXT();
    memmove(to, from, n);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    (void)stream;
    return cudaMemcpy(to, from, n, kind);
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device,
                                size_t n, cudaStream_t stream) {
    (void)to_device, (void)from_device, (void)stream;
    return cudaMemcpy(to, from, n, cudaMemcpyDefault);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream) {
    (void)kind, (void)stream;
    NEED_CONTEXT();
    for (size_t row = 0; row < height; row++)
        memmove((char *)to + row * to_pitch, (const char *)from + row * from_pitch, width);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int value, size_t n) {
    NEED_CONTEXT();
    memset(to, value, n);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t stream) {
    (void)stream;
    return cudaMemset(to, value, n);
}

/* A variable of the device lives in its shadow on the host, which has the same size. */
cudaError_t cudaGetSymbolAddress(void **out, const void *symbol) {
    *out = (void *)symbol;
    return cudaSuccess;
}

cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t n, size_t offset,
                               enum cudaMemcpyKind kind) {
    (void)kind;
    memcpy((char *)symbol + offset, from, n);
    return cudaSuccess;
}
