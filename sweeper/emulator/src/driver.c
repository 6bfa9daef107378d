/* libcuda.so.1: the entry points that torch, Triton or a probe look up by name.
 *
 * The file is found under that name through LD_LIBRARY_PATH; memory is in virtual_memory.c.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

#undef cuGetProcAddress /* cuda.h maps it to its second version */

static char nothing; /* whatever has to have an address */

CUresult cuInit(unsigned flags) {
    (void)flags;
    return visible_count() ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version) {
    *version = cuda_version();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    *count = visible_count();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    *device = ordinal;
    return visible_card(ordinal) < 0 ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
    int card = visible_card(device);
    if (card < 0) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, size, "%s", card_at(card)->name);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) { /* _v2, says cuda.h */
    int card = visible_card(device);
    if (card < 0) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = card_capacity(card);
    return CUDA_SUCCESS;
}

/* The runtime's attributes have the driver's numbers. */
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    cudaError_t code = cudaDeviceGetAttribute(value, (enum cudaDeviceAttr)attribute, device);
    return code ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult code, const char **text) {
    *text = cudaGetErrorName((cudaError_t)code); /* the two share the codes used here */
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult code, const char **text) {
    *text = cudaGetErrorString((cudaError_t)code);
    return CUDA_SUCCESS;
}

/* ---- contexts: one per card, made by the runtime ---------------------------------------------- */

CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = (CUcontext)&nothing;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
    (void)context;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    (void)device;
    return cuCtxGetCurrent(context);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    User users[MAX_USERS];
    int n = list_users(visible_card(device), users);
    *flags = 0, *active = 0;
    for (int i = 0; i < n; i++) *active |= users[i].pid == getpid();
    return CUDA_SUCCESS;
}

/* ---- modules that torch compiles while it runs: loaded, and launched into the void ------------- */

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    (void)image;
    *module = (CUmodule)&nothing;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    (void)module, (void)name;
    *function = (CUfunction)&nothing;
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
    (void)module;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                        CUstream stream, void **arguments, void **extra) {
    (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z;
    (void)shared, (void)stream, (void)arguments, (void)extra;
    return (CUresult)launch_kernel(function);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction function, int size,
                                                     size_t shared) {
    (void)function, (void)size, (void)shared;
    *n = 2;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
    (void)attribute, (void)function;
    *value = 0;
    return CUDA_SUCCESS;
}

/* ---- looking up ------------------------------------------------------------------------------- */

CUresult cuGetProcAddress_v2(const char *name, void **entry, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    (void)version, (void)flags;
    *entry = dlsym(RTLD_DEFAULT, name);
    if (status)
        *status = *entry ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *entry ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress(const char *name, void **entry, int version, cuuint64_t flags) {
    return cuGetProcAddress_v2(name, entry, version, flags, NULL);
}

/* Where torch's C++ gets them from. */
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **entry, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *status) {
    (void)version, (void)flags;
    *entry = dlsym(RTLD_DEFAULT, name);
    if (status)
        *status = *entry ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

/* torch insists that the others of its list exist (c10/cuda/driver_api.h): unsupported.c. */
