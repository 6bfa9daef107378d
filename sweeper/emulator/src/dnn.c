/* cuDNN: descriptors exist, heuristics find one engine; convolutions are computed by shadow.cpp.
 *
 *   EMULATOR_WORKSPACE_MIB    workspace that every convolution asks for: the real sizes depend
 *                             on NVIDIA's choice of algorithm, which nothing here knows
 */
#include <cudnn.h>
#include <stdlib.h>

#include "machine.h"

enum { ANY_SIZE = 64 }; /* nobody looks inside */

static cudnnStatus_t create(void *out) {
    *(void **)out = calloc(1, ANY_SIZE);
    return *(void **)out ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_INTERNAL_ERROR;
}

static cudnnStatus_t destroy(void *object) {
    free(object);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *out) { return create(out); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle); }

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    (void)handle;
    *stream = NULL;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- the graph API ------------------------------------------------------------------------- */

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *out) {
    (void)type;
    return create(out);
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    return destroy(descriptor);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t n,
                                       const void *values) {
    (void)descriptor, (void)name, (void)type, (void)n, (void)values;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    (void)descriptor;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
    (void)handle, (void)plan, (void)pack;
    return CUDNN_STATUS_SUCCESS;
}

/* One engine with one configuration, no knobs and no notes. */
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted,
                                       int64_t *n, void *out) {
    (void)descriptor, (void)type, (void)wanted;
    int64_t found = 0;
    switch (name) {
        case CUDNN_ATTR_ENGINEHEUR_RESULTS: /* the caller has made the descriptors */
        case CUDNN_ATTR_ENGINECFG_ENGINE: found = 1; break;
        case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
            found = 1;
            if (out) *(int64_t *)out = setting_mib("EMULATOR_WORKSPACE_MIB", 0);
            break;
        case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
            found = 1;
            if (out) *(int64_t *)out = 0;
            break;
        default: break;
    }
    if (n) *n = found;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- the older API, which torch still uses for batch normalisation ---------------------------- */

#define CREATE(What)                                                              \
    cudnnStatus_t cudnnCreate##What##Descriptor(cudnn##What##Descriptor_t *out) { \
        return create(out);                                                       \
    }                                                                             \
    cudnnStatus_t cudnnDestroy##What##Descriptor(cudnn##What##Descriptor_t it) {  \
        return destroy(it);                                                       \
    }
CREATE(Activation)
CREATE(Convolution)
CREATE(Dropout)
CREATE(Filter)
CREATE(Pooling)
CREATE(Tensor)

cudnnStatus_t cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t ops,
    const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t z,
    const cudnnTensorDescriptor_t y, const cudnnTensorDescriptor_t scale,
    const cudnnActivationDescriptor_t activation, size_t *size) {
    (void)handle, (void)mode, (void)ops, (void)x, (void)z, (void)y, (void)scale, (void)activation;
    *size = 0;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetBatchNormalizationBackwardExWorkspaceSize(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t ops,
    const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t y,
    const cudnnTensorDescriptor_t dy, const cudnnTensorDescriptor_t dz,
    const cudnnTensorDescriptor_t dx, const cudnnTensorDescriptor_t scale,
    const cudnnActivationDescriptor_t activation, size_t *size) {
    (void)handle, (void)mode, (void)ops, (void)x, (void)y, (void)dy, (void)dz, (void)dx;
    (void)scale, (void)activation;
    *size = 0;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetBatchNormalizationTrainingExReserveSpaceSize(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t ops,
    const cudnnActivationDescriptor_t activation, const cudnnTensorDescriptor_t x, size_t *size) {
    (void)handle, (void)mode, (void)ops, (void)activation, (void)x;
    *size = 0;
    return CUDNN_STATUS_SUCCESS;
}
