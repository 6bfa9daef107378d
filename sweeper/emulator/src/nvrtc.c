/* libnvrtc.so.13: every program compiles to a few bytes, which cuModuleLoadData takes.
 *
 * A library of its own with NVIDIA's SONAME, because torch opens it by name and looks its
 * functions up there: definitions in libemulated_card.so would not be found.
 */
#include <nvrtc.h>
#include <stdlib.h>
#include <string.h>

nvrtcResult nvrtcVersion(int *major, int *minor) {
    *major = 13, *minor = 0;
    return NVRTC_SUCCESS;
}

const char *nvrtcGetErrorString(nvrtcResult code) { return code ? "NVRTC error" : "no error"; }

nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *name, int n,
                               const char *const *headers, const char *const *include_names) {
    (void)source, (void)name, (void)n, (void)headers, (void)include_names;
    *program = calloc(1, 64);
    return *program ? NVRTC_SUCCESS : NVRTC_ERROR_OUT_OF_MEMORY;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program) {
    free(*program);
    *program = NULL;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int n, const char *const *options) {
    (void)program, (void)n, (void)options;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcAddNameExpression(nvrtcProgram program, const char *const name) {
    (void)program, (void)name;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetLoweredName(nvrtcProgram program, const char *const name,
                                const char **lowered) {
    (void)program, (void)name;
    *lowered = "kernel";
    return NVRTC_SUCCESS;
}

#define CODE(What)                                                         \
    nvrtcResult nvrtcGet##What##Size(nvrtcProgram program, size_t *size) { \
        (void)program;                                                     \
        *size = 8;                                                         \
        return NVRTC_SUCCESS;                                              \
    }                                                                      \
    nvrtcResult nvrtcGet##What(nvrtcProgram program, char *code) {         \
        (void)program;                                                     \
        memset(code, 0, 8);                                                \
        return NVRTC_SUCCESS;                                              \
    }
CODE(PTX)
CODE(CUBIN)
CODE(ProgramLog)
