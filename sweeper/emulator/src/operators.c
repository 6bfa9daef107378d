/* Brings shadow.cpp, which needs torch's libraries, into a process that has loaded them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"

/* Called again when a library (torchvision, an extension) may have brought new operators. */
void load_operators(void) {
    static void (*replace_operators)(void);
    if (!replace_operators) {
        if (!dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD)) return;
        Dl_info self;
        char path[4096];
        dladdr((void *)load_operators, &self);
        snprintf(path, sizeof path, "%.*s/libemulated_operators.so",
                 (int)(strrchr(self.dli_fname, '/') - self.dli_fname), self.dli_fname);
        void *library = dlopen(path, RTLD_NOW);
        if (library) *(void **)&replace_operators = dlsym(library, "emulator_replace_operators");
        if (!replace_operators) {
            complain("no operator is computed", dlerror());
            new_kernels = 0;
            return;
        }
    }
    new_kernels = 0;
    replace_operators();
}
