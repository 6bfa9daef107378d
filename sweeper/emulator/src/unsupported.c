/* Entry points of libcuda and NVML that torch insists on finding, for what is not emulated.
 *
 * A file without the headers that declare them: they are looked up by name, and say aloud when
 * they are called. Those of the runtime, cuBLAS and cuDNN are in stubs.c (generated).
 */
#include "machine.h"

#define UNSUPPORTED(name, code)                  \
    int name(void) {                             \
        complain("no implementation of", #name); \
        return code;                             \
    }
#define DRIVER(name) UNSUPPORTED(name, 801)
#define NVML(name) UNSUPPORTED(name, 3)

/* memory shared between processes, symmetric memory */
DRIVER(cuMemGetAddressRange)
DRIVER(cuMemExportToShareableHandle)
DRIVER(cuMemImportFromShareableHandle)
DRIVER(cuMemRetainAllocationHandle)
DRIVER(cuMemGetAllocationPropertiesFromHandle)
DRIVER(cuMemsetD32Async)
DRIVER(cuStreamWriteValue32)
NVML(nvmlDeviceGetNvLinkRemoteDeviceType)
NVML(nvmlDeviceGetNvLinkRemotePciInfo_v2)
/* kernels of other compilers */
DRIVER(cuLinkAddData_v2)
DRIVER(cuLinkComplete)
DRIVER(cuLinkCreate_v2)
DRIVER(cuPointerGetAttribute)
DRIVER(cuTensorMapEncodeTiled)
