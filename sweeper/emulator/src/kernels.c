/* CUDA runtime: kernels are registered, asked about and launched into the void.
 *
 * What a kernel would have written is computed by shadow.cpp, operator by operator. A kernel
 * launched outside of such an operator leaves its results unwritten, so it is complained about.
 *
 *   EMULATOR_KERNELS_MIB    by how much the first launch grows the context: kernels load lazily
 */
#include <stdlib.h>

#include "runtime.h"

/* torch's binaries for CUDA 13 hold no code for older cards. */
enum { OLDEST_CAPABILITY = 75 };

typedef struct {
    const void *host;
    const char *name;
} Kernel;

int new_kernels;
static __thread int operators; /* that are being computed, one within the other */
static __thread struct {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
} configuration;
static Kernel *kernels;
static size_t n_kernels, room;

/* Called by shadow.cpp around an operator's own launches. */
void emulator_enter_operator(void) { operators++; }
void emulator_leave_operator(void) { operators--; }

/* ---- registration: from static initialisers, one thread at a time ---------------------------- */

void **__cudaRegisterFatBinary(void *binary) {
    new_kernels = 1;
    return (void **)binary;
}

void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
void __cudaUnregisterFatBinary(void **handle) { (void)handle; }

char __cudaInitModule(void **handle) {
    (void)handle;
    return 0;
}

void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external,
                       size_t size, int constant, int global) {
    (void)handle, (void)host, (void)device, (void)name, (void)external, (void)size;
    (void)constant, (void)global;
}

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int threads, void *a, void *b, void *c, void *d, int *size) {
    (void)handle, (void)device, (void)threads, (void)a, (void)b, (void)c, (void)d, (void)size;
    if (n_kernels == room) {
        room = room ? 2 * room : 1 << 16;
        kernels = realloc(kernels, room * sizeof *kernels);
        if (!kernels) abort();
    }
    kernels[n_kernels++] = (Kernel){host, name};
}

static const char *name_of(const void *host) {
    for (size_t i = 0; i < n_kernels; i++)
        if (kernels[i].host == host) return kernels[i].name;
    return "of a module loaded at run time";
}

/* ---- launches ------------------------------------------------------------------------------- */

static int capability(void) {
    Card *card = card_at(current_card());
    return card ? 10 * card->major + card->minor : OLDEST_CAPABILITY;
}

/* Of what torch is compiled for, what such a card loads: CUB refuses any other answer. */
static int image(void) {
    static const int images[] = {120, 100, 90, 86, 80, 75};
    int own = capability();
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        if (images[i] <= own && images[i] / 10 == own / 10) return images[i];
    return own;
}

cudaError_t launch_kernel(const void *kernel) {
    static int launched;
    NEED_CONTEXT();
    if (capability() < OLDEST_CAPABILITY) return fail(cudaErrorNoKernelImageForDevice);
    if (!operators) complain("nothing is computed in place of kernel", name_of(kernel));
    if (__atomic_exchange_n(&launched, 1, __ATOMIC_RELAXED)) return cudaSuccess;
    if (card_take(current_card(), setting_mib("EMULATOR_KERNELS_MIB", 0)))
        return fail(cudaErrorMemoryAllocation);
    return cudaSuccess;
}

/* As launching does, a computing function of cuBLAS or cuDNN succeeds and computes nothing. */
int emulator_compute(const char *name) {
    if (!operators) complain("nothing is computed in place of", name);
    return 0;
}

cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arguments,
                             size_t shared, cudaStream_t stream) {
    (void)grid, (void)block, (void)arguments, (void)shared, (void)stream;
    return launch_kernel(kernel);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments,
                               size_t shared, cudaStream_t stream) {
    return cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}

cudaError_t cudaLaunchCooperativeKernel(const void *kernel, dim3 grid, dim3 block,
                                        void **arguments, size_t shared, cudaStream_t stream) {
    return cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *how, const void *kernel,
                                void **arguments) {
    (void)how, (void)arguments;
    return launch_kernel(kernel);
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
    configuration.grid = grid, configuration.block = block;
    configuration.shared = shared, configuration.stream = stream;
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    *grid = configuration.grid, *block = configuration.block, *shared = configuration.shared;
    *(cudaStream_t *)stream = configuration.stream;
    return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *host) {
    *kernel = (cudaKernel_t)host;
    return cudaSuccess;
}

/* ---- questions ------------------------------------------------------------------------------ */

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *out, const void *kernel) {
    (void)kernel;
    if (capability() < OLDEST_CAPABILITY) return fail(cudaErrorNoKernelImageForDevice);
    *out = (struct cudaFuncAttributes){.maxThreadsPerBlock = 1024,
                                       .numRegs = 32,
                                       .ptxVersion = image(),
                                       .binaryVersion = image(),
                                       .maxDynamicSharedSizeBytes = 48 << 10};
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *kernel, int size,
                                                          size_t shared) {
    (void)kernel, (void)size, (void)shared;
    *n = 2;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *kernel,
                                                                   int size, size_t shared,
                                                                   unsigned flags) {
    (void)flags;
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n, kernel, size, shared);
}
