/* CUDA runtime: errors, devices, contexts.
 *
 *   EMULATOR_CONTEXT_MIB=300    what a context takes of its card
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

static __thread cudaError_t last_error;
static __thread int current;
static int context_pid[MAX_CARDS]; /* the process that made the context */

static const struct {
    cudaError_t code;
    const char *name, *text;
} ERRORS[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
};

cudaError_t fail(cudaError_t code) { return last_error = code; }

cudaError_t cudaGetLastError(void) {
    cudaError_t code = last_error;
    last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

const char *cudaGetErrorName(cudaError_t code) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) return ERRORS[i].name;
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t code) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) return ERRORS[i].text;
    return "unknown error";
}

/* ---- devices ----------------------------------------------------------------------------- */

int current_ordinal(void) { return current; }
int current_card(void) { return visible_card(current); }

cudaError_t open_context(void) {
    if (new_kernels) load_operators();
    int card = current_card();
    if (card < 0) return fail(cudaErrorNoDevice);
    if (context_pid[card] == getpid()) return cudaSuccess;
    /* As on a real card, a fork of the owner may not use it. */
    if (context_pid[card]) return fail(cudaErrorInitializationError);
    if (card_take(card, setting_mib("EMULATOR_CONTEXT_MIB", 300)))
        return fail(cudaErrorMemoryAllocation);
    context_pid[card] = getpid();
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 0;
    if (cuda_version() < CUDART_VERSION / 1000 * 1000) return fail(cudaErrorInsufficientDriver);
    *count = visible_count();
    return *count ? cudaSuccess : fail(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int *device) {
    *device = current;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (visible_card(device) < 0) return fail(cudaErrorInvalidDevice);
    current = device;
    return open_context();
}

cudaError_t cudaDeviceSynchronize(void) { return open_context(); }

cudaError_t cudaDriverGetVersion(int *version) {
    *version = cuda_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    (void)device, (void)peer;
    *can = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device) {
    snprintf(text, size, "0000:%02x:00.0", visible_card(device) + 1);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0, *greatest = -5;
    return cudaSuccess;
}

/* Apart from memory, name and capability, these are a GeForce RTX 3090's. */
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
    int index = visible_card(device);
    if (index < 0) return fail(cudaErrorInvalidDevice);
    Card *card = card_at(index);
    *p = (struct cudaDeviceProp){
        .totalGlobalMem = card_capacity(index),
        .sharedMemPerBlock = 48 << 10,
        .sharedMemPerBlockOptin = 99 << 10,
        .sharedMemPerMultiprocessor = 100 << 10,
        .reservedSharedMemPerBlock = 1 << 10,
        .regsPerBlock = 65536,
        .regsPerMultiprocessor = 65536,
        .warpSize = 32,
        .memPitch = 2147483647,
        .maxThreadsPerBlock = 1024,
        .maxThreadsDim = {1024, 1024, 64},
        .maxGridSize = {2147483647, 65535, 65535},
        .totalConstMem = 65536,
        .major = card->major,
        .minor = card->minor,
        .textureAlignment = 512,
        .multiProcessorCount = 82,
        .canMapHostMemory = 1,
        .concurrentKernels = 1,
        .pciBusID = index + 1,
        .asyncEngineCount = 2,
        .unifiedAddressing = 1,
        .memoryBusWidth = 384,
        .l2CacheSize = 6 << 20,
        .maxThreadsPerMultiProcessor = 1536,
        .maxBlocksPerMultiProcessor = 16,
        .streamPrioritiesSupported = 1,
        .managedMemory = 1,
        .cooperativeLaunch = 1,
        .hostRegisterSupported = 1,
    };
    strcpy(p->name, card->name);
    memcpy(&p->uuid, card->uuid_bytes, sizeof card->uuid_bytes);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp p;
    cudaError_t code = cudaGetDeviceProperties(&p, device);
    if (code) return code;
    switch ((int)attribute) { /* the driver has some that the runtime does not name */
        case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
        case cudaDevAttrMaxBlockDimX: *value = p.maxThreadsDim[0]; break;
        case cudaDevAttrMaxBlockDimY: *value = p.maxThreadsDim[1]; break;
        case cudaDevAttrMaxBlockDimZ: *value = p.maxThreadsDim[2]; break;
        case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
        case cudaDevAttrMaxGridDimY: *value = p.maxGridSize[1]; break;
        case cudaDevAttrMaxGridDimZ: *value = p.maxGridSize[2]; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = p.sharedMemPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = p.sharedMemPerBlockOptin; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
            *value = p.sharedMemPerMultiprocessor;
            break;
        case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
        case cudaDevAttrWarpSize: *value = p.warpSize; break;
        case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
        case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
        case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
        case cudaDevAttrClockRate: *value = 1695000; break;
        case cudaDevAttrUnifiedAddressing:
        case cudaDevAttrCooperativeLaunch:
        case cudaDevAttrHostRegisterSupported:
        case cudaDevAttrConcurrentKernels: *value = 1; break;
        default: *value = 0; /* has not, cannot: the safe answer to what is not listed */
    }
    return cudaSuccess;
}
