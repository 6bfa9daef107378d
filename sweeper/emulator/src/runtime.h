/* What the parts of the CUDA runtime share. */
#pragma once
#include <cuda_runtime_api.h>

#include "machine.h"

/* device.c */
cudaError_t fail(cudaError_t code);  /* remember it for cudaGetLastError */
cudaError_t open_context(void);      /* on the current device, if it has none */
int current_ordinal(void);
int current_card(void);
#define NEED_CONTEXT()                      \
    do {                                    \
        cudaError_t code_ = open_context(); \
        if (code_) return code_;            \
    } while (0)

/* memory.c: the device's and the pinned host's addresses */
enum { PINNED = -1, PAGE = 2 << 20 }; /* the driver hands out device memory in pages of 2 MiB */
void add_range(void *start, size_t size, int card);
size_t drop_range(void *start, int *card); /* its size; 0: no range begins there */

/* kernels.c */
extern int new_kernels;           /* a library with kernels has been loaded since the last look */
cudaError_t launch_kernel(const void *kernel);

/* operators.c */
void load_operators(void);
