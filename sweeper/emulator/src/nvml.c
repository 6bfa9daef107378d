/* libnvidia-ml.so.1: the cards, and what each process holds of them.
 *
 * The declarations are ours: NVIDIA's nvml.h is in none of the wheels that torch depends on.
 *
 *   EMULATOR_DRIVER=580.65.06    version of the driver
 *   EMULATOR_PIDS=shown          container: lists no process, as in most containers
 *                                zero: says of each that it holds nothing, as in some
 *                                host: lists pids that mean nothing here, as in others
 *                                wsl: hides what each of them holds
 */
#include <stdio.h>
#include <string.h>

#include "machine.h"

enum {
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9
};

typedef struct {
    unsigned long long total, free, used;
} Memory;

typedef struct { /* the first version ends after `used` */
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
} Process;

typedef struct {
    unsigned pid;
    unsigned long long used;
} ProcessV1;

static int index_of(const Card *card) { return card - card_at(0); }

static int set_text(char *text, unsigned size, const char *value) {
    snprintf(text, size, "%s", value);
    return SUCCESS;
}

int nvmlInit_v2(void) { return card_count() ? SUCCESS : DRIVER_NOT_LOADED; }
int nvmlInit(void) { return nvmlInit_v2(); }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return nvmlInit_v2();
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
        case SUCCESS: return "Success";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case NOT_SUPPORTED: return "Not Supported";
        case NOT_FOUND: return "Not Found";
        case INSUFFICIENT_SIZE: return "Insufficient Size";
        case DRIVER_NOT_LOADED: return "Driver Not Loaded";
        default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    return set_text(text, size, setting("EMULATOR_DRIVER", "580.65.06"));
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    *version = cuda_version();
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    return nvmlSystemGetCudaDriverVersion(version);
}

/* ---- devices ------------------------------------------------------------------------------- */

int nvmlDeviceGetCount_v2(unsigned *n) {
    *n = card_count();
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Card **card) {
    *card = card_at(index);
    return *card ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Card **card) {
    for (int i = 0; i < card_count(); i++)
        if (!strcmp((*card = card_at(i))->uuid, uuid)) return SUCCESS;
    return NOT_FOUND;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, Card **card) {
    unsigned domain, bus = 0;
    sscanf(id, "%x:%x:", &domain, &bus);
    return nvmlDeviceGetHandleByIndex_v2(bus - 1, card);
}

int nvmlDeviceGetUUID(Card *card, char *text, unsigned size) {
    return set_text(text, size, card->uuid);
}

int nvmlDeviceGetName(Card *card, char *text, unsigned size) {
    return set_text(text, size, card->name);
}

int nvmlDeviceGetIndex(Card *card, unsigned *index) {
    *index = index_of(card);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(Card *card, int *major, int *minor) {
    *major = card->major, *minor = card->minor;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Card *card, unsigned *now, unsigned *pending) {
    (void)card;
    *now = *pending = 0;
    return NOT_SUPPORTED;
}

int nvmlDeviceGetGpuFabricInfoV(Card *card, void *info) {
    (void)card, (void)info;
    return NOT_SUPPORTED; /* as every card without a fabric says */
}

int nvmlDeviceGetUtilizationRates(Card *card, unsigned rates[2]) {
    (void)card;
    rates[0] = rates[1] = 0;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(Card *card, int sensor, unsigned *celsius) {
    (void)card, (void)sensor;
    *celsius = 40;
    return SUCCESS;
}

/* ---- memory -------------------------------------------------------------------------------- */

int nvmlDeviceGetMemoryInfo(Card *card, Memory *memory) {
    size_t kept = card->total - card_capacity(index_of(card));
    memory->total = card->total;
    memory->used = card_used(index_of(card)) + kept;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Card *card, unsigned *n, Process *out) {
    const char *pids = setting("EMULATOR_PIDS", "shown");
    User users[MAX_USERS];
    unsigned room = *n;
    *n = strcmp(pids, "container") ? list_users(index_of(card), users) : 0;
    if (*n > room || (*n && !out)) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *n; i++) {
        out[i] = (Process){.pid = users[i].pid, .used = users[i].used};
        if (!strcmp(pids, "zero")) out[i].used = 0;
        if (!strcmp(pids, "host")) out[i].pid += 1 << 22; /* no pid here is as high */
        if (!strcmp(pids, "wsl")) out[i].used = ~0ull;    /* not available */
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses(Card *card, unsigned *n, ProcessV1 *out) {
    Process now[MAX_USERS];
    unsigned room = *n;
    *n = MAX_USERS;
    nvmlDeviceGetComputeRunningProcesses_v3(card, n, now);
    if (*n > room || (*n && !out)) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *n; i++) out[i] = (ProcessV1){now[i].pid, now[i].used};
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Card *card, unsigned *n, Process *out) {
    (void)card, (void)out;
    *n = 0;
    return SUCCESS;
}
