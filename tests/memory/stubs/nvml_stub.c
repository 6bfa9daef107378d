/* libnvidia-ml.so.1 for tests: answers from the scenario file named by NVML_STUB.
 *
 * The file is read again whenever it is replaced, so a test can change the use while a
 * process runs. One statement a line:
 *
 *   final                                       the file is not looked at again
 *   init <code>                                 what nvmlInit returns (9: driver not loaded)
 *   lost_after <n>                              after n memory queries every query returns 15
 *   device <uuid> <total MiB> <used MiB> <name>
 *   mig <index> <uuid> <total MiB> <used MiB> <name>     instance of the device at <index>
 *   mig_mode <index>                            MIG mode, even without an instance
 *   process <uuid> <pid> <C|G> <MiB|na>
 *   error <uuid> <memory|compute|graphics> <code>
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };
enum { MAX = 32, MEMORY = 0, COMPUTE = 1, GRAPHICS = 2 };

typedef struct {
    char uuid[96], name[96];
    unsigned long long total, used;
    int parent, mig, error[3];
} Device;
typedef struct { char uuid[96]; unsigned pid; int kind; unsigned long long used; } Process;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } ProcessInfo;

static Device devices[MAX];
static Process processes[MAX];
static int n_devices, n_processes, init_code, lost_after, queries, final;
static struct timespec loaded;
static ino_t inode;

static int kind_of(const char *word) {
    return !strcmp(word, "memory") ? MEMORY : !strcmp(word, "compute") ? COMPUTE : GRAPHICS;
}

static Device *named(const char *uuid) {
    for (int i = 0; i < n_devices; i++)
        if (!strcmp(devices[i].uuid, uuid)) return &devices[i];
    return NULL;
}

/* The i-th physical GPU (parent -1) or the i-th instance of a GPU. */
static Device *nth(int parent, unsigned index) {
    for (int i = 0; i < n_devices; i++)
        if (devices[i].parent == parent && index-- == 0) return &devices[i];
    return NULL;
}

static void parse(char *line) {
    char uuid[96], word[96], name[96], kind;
    unsigned long long total, used;
    int number;
    unsigned pid;
    if (!strcmp(line, "final\n")) final = 1;
    else if (sscanf(line, "init %d", &number) == 1) init_code = number;
    else if (sscanf(line, "lost_after %d", &number) == 1) lost_after = number;
    else if (sscanf(line, "device %95s %llu %llu %95[^\n]", uuid, &total, &used, name) == 4) {
        Device d = {.total = total << 20, .used = used << 20, .parent = -1};
        strcpy(d.uuid, uuid), strcpy(d.name, name), devices[n_devices++] = d;
    } else if (sscanf(line, "mig %d %95s %llu %llu %95[^\n]", &number, uuid, &total, &used,
                      name) == 5) {
        Device d = {.total = total << 20, .used = used << 20, .parent = number};
        strcpy(d.uuid, uuid), strcpy(d.name, name), devices[n_devices++] = d;
        if (nth(-1, number)) nth(-1, number)->mig = 1;
    } else if (sscanf(line, "mig_mode %d", &number) == 1) {
        if (nth(-1, number)) nth(-1, number)->mig = 1;
    } else if (sscanf(line, "process %95s %u %c %95s", uuid, &pid, &kind, word) == 4) {
        Process p = {.pid = pid, .kind = kind == 'C' ? COMPUTE : GRAPHICS};
        p.used = strcmp(word, "na") ? strtoull(word, NULL, 10) << 20 : ~0ULL;
        strcpy(p.uuid, uuid), processes[n_processes++] = p;
    } else if (sscanf(line, "error %95s %95s %d", uuid, word, &number) == 3 && named(uuid))
        named(uuid)->error[kind_of(word)] = number;
}

static void load(void) {
    const char *path = getenv("NVML_STUB");
    struct stat status;
    if (final || !path || stat(path, &status)) return;
    if (status.st_ino == inode && !memcmp(&status.st_mtim, &loaded, sizeof loaded)) return;
    inode = status.st_ino, loaded = status.st_mtim;
    n_devices = n_processes = init_code = lost_after = 0;
    FILE *file = fopen(path, "r");
    char line[512];
    while (file && fgets(line, sizeof line, file)) parse(line);
    if (file) fclose(file);
}

static int failure(Device *d, int kind) {
    load();
    if (lost_after && ++queries > lost_after) return LOST;
    return d->error[kind];
}

static int found(Device *d, Device **out) { return (*out = d) ? OK : NOT_FOUND; }

static int index_of(Device *d) {
    int index = 0;
    for (Device *other = devices; other < d; other++) index += other->parent == -1;
    return index;
}

static unsigned count(int parent) {
    unsigned n = 0;
    for (int i = 0; i < n_devices; i++) n += devices[i].parent == parent;
    return n;
}

int nvmlInit_v2(void) { return load(), init_code; }
int nvmlInit(void) { return nvmlInit_v2(); }
int nvmlInitWithFlags(unsigned flags) { return (void)flags, nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return (void)code, "stub error"; }
int nvmlDeviceGetCount_v2(unsigned *n) { return load(), *n = count(-1), OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, Device **d) { return found(nth(-1, i), d); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 13000, OK; }

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    return snprintf(version, size, "580.65.06"), OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **d) {
    load();
    return found(named(uuid), d);
}

int nvmlDeviceGetUUID(Device *d, char *uuid, unsigned size) {
    return snprintf(uuid, size, "%s", d->uuid), OK;
}

int nvmlDeviceGetName(Device *d, char *name, unsigned size) {
    return snprintf(name, size, "%s", d->name), OK;
}

int nvmlDeviceGetMigMode(Device *d, unsigned *now, unsigned *pending) {
    return *now = *pending = d->mig, OK;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *n) {
    return *n = d->mig ? 7 : 0, OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *d, unsigned i, Device **mig) {
    return found(nth(index_of(d), i), mig);
}

int nvmlDeviceGetMemoryInfo(Device *d, Memory *m) {
    int code = failure(d, MEMORY);
    if (code) return code;
    m->total = d->total, m->used = d->used, m->free = d->total - d->used;
    return OK;
}

static int list(Device *d, int kind, unsigned *n, ProcessInfo *out) {
    int code = failure(d, kind);
    if (code) return code;
    unsigned room = *n, seen = 0;
    for (int i = 0; i < n_processes; i++) {
        if (processes[i].kind != kind || strcmp(processes[i].uuid, d->uuid)) continue;
        if (out && seen < room)
            out[seen] = (ProcessInfo){.pid = processes[i].pid, .used = processes[i].used};
        seen++;
    }
    *n = seen;
    return seen > room || (seen && !out) ? INSUFFICIENT_SIZE : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) {
    return list(d, COMPUTE, n, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) {
    return d->parent == -1 ? list(d, GRAPHICS, n, out) : NOT_SUPPORTED;
}
