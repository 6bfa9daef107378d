/* libcuda.so.1 for tests: a driver without GPUs that appends each cuInit to CUDA_STUB_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SUCCESS = 0, NO_DEVICE = 100, NOT_FOUND = 500 };

int cuInit(unsigned flags) {
    (void)flags;
    const char *path = getenv("CUDA_STUB_LOG");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file >= 0) dprintf(file, "cuInit %d\n", getpid()), close(file);
    return NO_DEVICE;
}

int cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }

/* The CUDA runtime asks for every entry point by name; what this driver lacks is not found. */
int cuGetProcAddress_v2(const char *name, void **entry, int version, unsigned long long flags,
                        int *status) {
    (void)version, (void)flags;
    *entry = dlsym(RTLD_DEFAULT, name);
    if (!*entry) {
        void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
        if (self) *entry = dlsym(self, name);
    }
    if (status) *status = *entry ? 0 : 1;
    return *entry ? SUCCESS : NOT_FOUND;
}

int cuGetProcAddress(const char *name, void **entry, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, entry, version, flags, NULL);
}
