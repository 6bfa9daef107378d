/* Virtual memory management of libcuda, which torch's expandable segments stand on.
 *
 * One sparse file holds the physical memory: a handle is a part of it, mapping maps that part
 * into the reserved addresses. A handle is free again when it is released and nowhere mapped.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime.h"

typedef struct {
    off_t offset;
    size_t size;
    int card, references; /* itself until it is released, and its mappings */
} Physical;

typedef struct Mapping {
    CUdeviceptr start;
    size_t size;
    Physical *memory;
    struct Mapping *next;
} Mapping;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int file = -1;
static off_t file_end;
static Mapping *mappings;

static void *as_pointer(CUdeviceptr address) { return (void *)(uintptr_t)address; }

/* Reserved, and nothing there. */
static int map_nothing(void *wanted, size_t size, void **out) {
    int fixed = wanted ? MAP_FIXED : 0;
    void *start = mmap(wanted, size, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
    *out = start;
    return start == MAP_FAILED ? -1 : 0;
}

static void forget(Physical *memory) {
    if (--memory->references) return;
    fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, memory->offset, memory->size);
    card_give(memory->card, memory->size);
    free(memory);
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                       CUmemAllocationGranularity_flags option) {
    (void)prop, (void)option;
    *granularity = PAGE;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *out, size_t size, size_t alignment, CUdeviceptr wanted,
                             unsigned long long flags) {
    (void)alignment, (void)wanted, (void)flags; /* torch wants none; `wanted` is a hint */
    void *start;
    if (!size || size % PAGE) return CUDA_ERROR_INVALID_VALUE;
    if (map_nothing(NULL, size, &start)) return CUDA_ERROR_OUT_OF_MEMORY;
    add_range(start, size, current_card());
    *out = (CUdeviceptr)(uintptr_t)start;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr start, size_t size) {
    int card;
    if (drop_range(as_pointer(start), &card) != size) return CUDA_ERROR_INVALID_VALUE;
    munmap(as_pointer(start), size);
    return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *out, size_t size,
                     const CUmemAllocationProp *prop, unsigned long long flags) {
    (void)flags;
    int card = visible_card(prop->location.id);
    if (card < 0 || !size || size % PAGE) return CUDA_ERROR_INVALID_VALUE;
    if (card_take(card, size)) return CUDA_ERROR_OUT_OF_MEMORY;
    Physical *memory = malloc(sizeof *memory);
    pthread_mutex_lock(&mutex);
    if (file < 0) file = memfd_create("device memory", MFD_CLOEXEC);
    int failed = !memory || file < 0 || ftruncate(file, file_end + size);
    if (!failed) {
        *memory = (Physical){file_end, size, card, 1};
        file_end += size; /* never used again: a sparse file has room for all */
    }
    pthread_mutex_unlock(&mutex);
    if (failed) {
        free(memory);
        card_give(card, size);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *out = (CUmemGenericAllocationHandle)(uintptr_t)memory;
    return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    pthread_mutex_lock(&mutex);
    forget((Physical *)(uintptr_t)handle);
    pthread_mutex_unlock(&mutex);
    return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr start, size_t size, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags) {
    (void)flags;
    Physical *memory = (Physical *)(uintptr_t)handle;
    Mapping *mapping = malloc(sizeof *mapping);
    if (!mapping) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&mutex);
    void *mapped = mmap(as_pointer(start), size, PROT_NONE, MAP_SHARED | MAP_FIXED, file,
                        memory->offset + offset);
    if (mapped != MAP_FAILED) {
        *mapping = (Mapping){start, size, memory, mappings};
        mappings = mapping;
        memory->references++;
    }
    pthread_mutex_unlock(&mutex);
    if (mapped != MAP_FAILED) return CUDA_SUCCESS;
    free(mapping);
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemSetAccess(CUdeviceptr start, size_t size, const CUmemAccessDesc *access, size_t n) {
    int allowed = PROT_NONE;
    for (size_t i = 0; i < n; i++)
        if (access[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE) allowed = PROT_READ | PROT_WRITE;
    return mprotect(as_pointer(start), size, allowed) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

/* All mappings that lie within, as the driver takes whole ones only. */
CUresult cuMemUnmap(CUdeviceptr start, size_t size) {
    void *nothing;
    pthread_mutex_lock(&mutex);
    int failed = map_nothing(as_pointer(start), size, &nothing);
    for (Mapping **link = &mappings; *link && !failed;) {
        Mapping *mapping = *link;
        if (mapping->start < start || mapping->start + mapping->size > start + size) {
            link = &mapping->next;
            continue;
        }
        *link = mapping->next;
        forget(mapping->memory);
        free(mapping);
    }
    pthread_mutex_unlock(&mutex);
    return failed ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
