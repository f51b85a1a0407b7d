/*
 * The `pyrunc` command: an interpreter that was started at build time.
 *
 * Starting CPython costs 5 ms, importing the runtime 10 ms more: several times what the kernel needs for a container.
 * So `launcher image ...` does both once, at `make`, and writes an image: a copy of this program whose data segment
 * holds the started interpreter. Running it maps that, takes over argv and environ, and goes on where SCRIPT ended.
 *
 * That works because everything the interpreter writes lies in the section .image (image.lds): libpython's own .data
 * and .bss, and a heap that serves its malloc (--wrap) and its arenas while the image is made. Nothing in it points out
 * of the program: the program is linked at a fixed address, libc and ld.so start afresh in every process, the words
 * that ld.so relocates are relocated again, and refuse_strays() proves the rest, or there is no image.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE /* for _PyRuntime */
#include <Python.h>
#include <internal/pycore_runtime.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if PY_VERSION_HEX < 0x030b0000 || PY_VERSION_HEX >= 0x030c0000
#error "the image was verified with CPython 3.11 only: other versions use the script launcher"
#endif

#define PAGE 4096UL
#define HEAP_SIZE (24UL << 20)
#define COLD_SIZE (12UL << 20)

extern char image_start[], image_end[], **environ;
PyMODINIT_FUNC PyInit__nsexec(void);

static char heap[HEAP_SIZE] __attribute__((section(".image.heap"), aligned(4096)));
/* What a process that starts from the image needs to find; zero in the launcher itself. */
static struct {
    PyObject *resume;      /* called with argv, and whether to catch SIGINT */
    PyObject *train;       /* called to make the profile */
    PyObject *environment; /* the dict behind os.environ */
} image __attribute__((section(".image.data")));

static int making; /* not in the image */

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("launcher: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* ---- memory ---- */

/*
 * The heap serves every allocation of the interpreter while the image is made, freed memory is zero, so that
 * refuse_strays() sees nothing but what lives, and the image is sparse. Later it serves small objects: side by side,
 * whatever their size, they touch half the pages that pymalloc's pools would, and a page costs a microsecond and more.
 * All else is libc's. A pointer tells by its address whose it is.
 */
#define SMALL 512
#define CLASSES 192
struct block {
    size_t size;
    struct block *next; /* while free; the payload starts here */
};
struct zone {
    size_t start, used, end; /* offsets in the heap */
    struct block *free_blocks[CLASSES];
};
/* What the verbs touch lies apart from what they do not (see below); what is allocated later goes to the end of it. */
static struct zone cold __attribute__((section(".image.data"))) = {.start = 0, .used = 0, .end = COLD_SIZE};
static struct zone warm __attribute__((section(".image.data"))) = {.start = COLD_SIZE, .used = COLD_SIZE, .end = HEAP_SIZE};

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void __real_free(void *);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void __wrap_free(void *);

/*
 * The profile: which allocations, counted from the start, are touched by a process that starts from the image. To learn
 * that, `launcher profile` puts every allocation into a page of its own in a memfd and forks; the child maps the memfd
 * anew, does what it would do from the image, and asks the kernel which pages it has come to map. The pages lie a fault
 * around (64 KiB) apart, so that one does not bring in the next. Allocations come in the same order when the image is
 * made; a number that is not in the profile is cold.
 */
#define SPREAD_STEP (16 * PAGE)
#define SPREAD_SLOTS (1UL << 18)
#define SPREAD_SIZE (SPREAD_SLOTS * SPREAD_STEP)
static char *spread; /* the pages, while profiling */
static int spread_fd;
static size_t spread_used, *spread_free, spread_free_count; /* in slots */
static unsigned int allocations, *owner;
static unsigned char *profile;
static size_t profile_size;

static int in_heap(const void *p)
{
    return ((const char *)p >= heap && (const char *)p < heap + HEAP_SIZE)
           || (spread && (const char *)p >= spread && (const char *)p < spread + SPREAD_SIZE);
}

static size_t payload(const void *p)
{
    return ((const size_t *)p)[-1];
}

static void *take(struct zone *zone, size_t size, size_t alignment)
{
    size_t start = (zone->used + alignment - 1) & ~(alignment - 1);

    if (start + size > zone->end)
        return NULL;
    zone->used = start + size;
    return heap + start;
}

/* Steps of 16 bytes up to 512, then eight steps a power of two, so that freed blocks fit again. */
static size_t size_class(size_t wanted, int *index)
{
    size_t size = 512, step = 0;

    if (wanted <= size) {
        *index = wanted ? (int)((wanted - 1) / 16) : 0;
        return 16 * ((size_t)*index + 1);
    }
    for (*index = 31; size < wanted && *index < CLASSES - 1; ++*index) {
        if (*index % 8 == 7)
            step = size / 8;
        size += step;
    }
    return size;
}

static void *spread_malloc(size_t size, unsigned int number)
{
    size_t rounded, slots, first, *header;
    int index;

    rounded = size_class(size, &index); /* as in a zone: realloc() must do the same there */
    slots = (rounded + 16 + SPREAD_STEP - 1) / SPREAD_STEP;
    first = slots == 1 && spread_free_count ? spread_free[--spread_free_count] : spread_used;
    if (first == spread_used)
        spread_used += slots;
    if (spread_used > SPREAD_SLOTS)
        fail("too much to profile");
    owner[first] = number;
    header = (size_t *)(spread + first * SPREAD_STEP);
    header[1] = rounded;
    return header + 2;
}

static void spread_free_slot(void *p)
{
    size_t slot = (size_t)((char *)p - spread) / SPREAD_STEP;

    memset(p, 0, payload(p));
    owner[slot] = 0;
    if (payload(p) + 16 <= SPREAD_STEP)
        spread_free[spread_free_count++] = slot;
}

static void *zone_malloc(struct zone *zone, size_t size)
{
    size_t *header, rounded;
    struct block *block;
    int index;

    rounded = size_class(size, &index);
    if (rounded < size)
        return NULL;
    block = zone->free_blocks[index];
    if (block) {
        zone->free_blocks[index] = block->next;
        block->next = NULL;
        return &block->next;
    }
    header = take(zone, rounded + 16, 16);
    if (!header)
        return NULL;
    header[1] = rounded;
    return header + 2;
}

static void *heap_malloc(size_t size)
{
    unsigned int number;
    void *p = NULL;

    if (!making)
        return spread ? NULL : zone_malloc(&warm, size);
    number = ++allocations;
    if (spread)
        return spread_malloc(size, number);
    if (number >= profile_size || !profile[number])
        p = zone_malloc(&cold, size);
    return p ? p : zone_malloc(&warm, size);
}

static void heap_free(void *p)
{
    struct block *block = (struct block *)((size_t *)p - 1);
    struct zone *zone = (char *)p < heap + COLD_SIZE ? &cold : &warm;
    int index;

    if (spread) {
        if (making)
            spread_free_slot(p);
        return;
    }
    if (making)
        memset(p, 0, block->size);
    size_class(block->size, &index);
    block->next = zone->free_blocks[index];
    zone->free_blocks[index] = block;
}

/* The interpreter's malloc(3) itself, which needs no lock: later it leaves the heap alone. */
void *__wrap_malloc(size_t size)
{
    return making ? heap_malloc(size) : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    void *p;

    if (!making)
        return __real_calloc(count, size);
    p = heap_malloc(count * size);
    return p ? memset(p, 0, count * size) : NULL;
}

void __wrap_free(void *p)
{
    if (!in_heap(p))
        __real_free(p);
    else if (making)
        heap_free(p);
}

void *__wrap_realloc(void *old, size_t size)
{
    void *p;

    if (!in_heap(old) && !making)
        return __real_realloc(old, size);
    if (old && size <= payload(old))
        return old;
    p = __wrap_malloc(size);
    if (old && p) {
        memcpy(p, old, payload(old));
        __wrap_free(old);
    }
    return p;
}

/* The interpreter's allocator of objects, called under its lock. */
static void *object_malloc(void *context, size_t size)
{
    void *p = making || size <= SMALL ? heap_malloc(size) : NULL;

    (void)context;
    return p || making ? p : __real_malloc(size);
}

static void *object_calloc(void *context, size_t count, size_t size)
{
    void *p = object_malloc(context, count * size);

    return p ? memset(p, 0, count * size) : NULL;
}

static void object_free(void *context, void *p)
{
    (void)context;
    if (in_heap(p))
        heap_free(p);
    else
        __real_free(p);
}

static void *object_realloc(void *context, void *old, size_t size)
{
    void *p;

    if (old && !in_heap(old))
        return __real_realloc(old, size ? size : 1); /* to C, realloc(p, 0) is free(p); to Python it is not */
    if (old && size <= payload(old))
        return old;
    p = object_malloc(context, size);
    if (old && p) {
        memcpy(p, old, payload(old));
        object_free(context, old);
    }
    return p;
}

static void *arena_alloc(void *context, size_t size)
{
    (void)context;
    return making ? take(&warm, size, PAGE) : __real_malloc(size);
}

static void arena_free(void *context, void *p, size_t size)
{
    (void)context;
    (void)size;
    if (!in_heap(p))
        __real_free(p);
}

static void allocate_from_heap(void)
{
    PyMemAllocatorEx objects = {NULL, object_malloc, object_calloc, object_realloc, object_free};
    PyObjectArenaAllocator pages = {NULL, arena_alloc, arena_free};

    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &objects);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &objects);
    PyObject_SetArenaAllocator(&pages);
}

/* ---- making an image ---- */

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static void check_python(const void *result)
{
    if (result)
        return;
    PyErr_Print();
    exit(1);
}

static void append_paths(PyWideStringList *list, const char *paths)
{
    wchar_t *wide = Py_DecodeLocale(paths, NULL), *state, *path;

    for (path = wcstok(wide, L":", &state); path; path = wcstok(NULL, L":", &state))
        check(PyWideStringList_Append(list, path));
}

/* What `python -IS` is, with hashes seeded once an image and without Python's own signal handlers. */
static void start_interpreter(const char *paths, unsigned long hash_seed)
{
    PyPreConfig preconfig;
    PyConfig config;

    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1;
    check(Py_PreInitialize(&preconfig));
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    config.pathconfig_warnings = 0;
    config.use_hash_seed = 1;
    config.hash_seed = hash_seed;
    config.optimization_level = 0;
    config.module_search_paths_set = 1;
    append_paths(&config.module_search_paths, paths);
    check(PyConfig_SetString(&config, &config.program_name, L"pyrunc"));
    check(PyConfig_SetString(&config, &config.executable, L""));
    check(PyConfig_SetString(&config, &config.base_executable, L""));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

static PyMethodDef fork_method;

/* Run the script; it leaves the functions `resume` and `train`. */
static void run_script(const char *script, int argc, char **argv)
{
    PyObject *globals, *list, *environment;
    FILE *file = fopen(script, "r");
    int i;

    if (!file)
        fail("%s: %s", script, strerror(errno));
    list = PyList_New(0);
    for (i = 0; i < argc; i++)
        PyList_Append(list, PyUnicode_DecodeFSDefault(argv[i]));
    PySys_SetObject("argv", list);
    Py_DECREF(list);
    globals = PyDict_New();
    PyDict_SetItemString(globals, "__name__", PyUnicode_FromString("image"));
    PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(globals, fork_method.ml_name, PyCFunction_New(&fork_method, NULL));
    check_python(PyRun_FileEx(file, "image.py", Py_file_input, globals, globals, 1));
    image.resume = PyDict_GetItemString(globals, "resume");
    image.train = PyDict_GetItemString(globals, "train");
    environment = PyImport_ImportModule("posix");
    check_python(environment);
    image.environment = PyObject_GetAttrString(environment, "environ");
    if (!image.resume || !image.train || !image.environment)
        fail("%s leaves no resume() or train()", script);
}

/* The words that ld.so writes at every start. */
static int relocated(const char *word)
{
    const ElfW(Rela) *rela = NULL;
    const ElfW(Dyn) *dynamic;
    size_t size = 0, i;

    for (dynamic = _DYNAMIC; dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_RELA)
            rela = (const void *)dynamic->d_un.d_ptr;
        if (dynamic->d_tag == DT_RELASZ)
            size = dynamic->d_un.d_val;
    }
    for (i = 0; i < size / sizeof(*rela); i++)
        if (rela[i].r_offset == (ElfW(Addr))word)
            return 1;
    return 0;
}

/* A mapping that will be elsewhere, or not at all, in the next process. */
static int strays(ElfW(Addr) value, const ElfW(Addr) (*maps)[2], int count)
{
    int i;

    for (i = 0; i < count; i++)
        if (value >= maps[i][0] && value < maps[i][1])
            return 1;
    return 0;
}

#define MAPS 256
static int foreign_mappings(ElfW(Addr) (*maps)[2])
{
    char line[512], own[256] = "", path[256];
    FILE *file = fopen("/proc/self/maps", "r");
    int count = 0;

    if (!file || readlink("/proc/self/exe", own, sizeof(own) - 1) < 0)
        fail("/proc: %s", strerror(errno));
    while (count < MAPS && fgets(line, sizeof(line), file)) {
        path[0] = 0;
        sscanf(line, "%lx-%lx %*s %*s %*s %*s %255s", &maps[count][0], &maps[count][1], path);
        if (strcmp(path, own) != 0 && maps[count][0] >= (ElfW(Addr))image_end)
            count++;
    }
    fclose(file);
    return count;
}

static void refuse_strays(void)
{
    static ElfW(Addr) maps[MAPS][2];
    int count = foreign_mappings(maps), found = 0;
    const char *end = heap + warm.used, *word;

    for (word = image_start; word < end; word += sizeof(ElfW(Addr))) {
        ElfW(Addr) value = *(const ElfW(Addr) *)word;
        if (value && strays(value, maps, count) && !relocated(word)) {
            fprintf(stderr, "launcher: %p holds %lx\n", (const void *)word, value);
            found++;
        }
    }
    if (found)
        fail("%d words point out of the image", found);
}

static ElfW(Phdr) *image_segment(char *file)
{
    ElfW(Ehdr) *header = (ElfW(Ehdr) *)file;
    ElfW(Phdr) *segment = (ElfW(Phdr) *)(file + header->e_phoff);
    int i;

    for (i = 0; i < header->e_phnum; i++, segment++)
        if (segment->p_type == PT_LOAD && segment->p_vaddr <= (ElfW(Addr))image_start
            && segment->p_vaddr + segment->p_filesz >= (ElfW(Addr))image_end)
            return segment;
    fail("the linker put .image in no segment");
}

/* Skip pages of zeros: the file stays sparse. */
static void write_pages(int fd, const char *data, size_t size, off_t offset)
{
    static const char zeros[PAGE];
    size_t i, n;

    for (i = 0; i < size; i += n) {
        n = size - i < PAGE ? size - i : PAGE;
        if (memcmp(data + i, zeros, n) != 0 && pwrite(fd, data + i, n, offset + (off_t)i) != (ssize_t)n)
            fail("writing the image: %s", strerror(errno));
    }
}

static void write_image(const char *path)
{
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd;
    ElfW(Phdr) *segment;
    ElfW(Ehdr) *header;
    struct stat st;
    size_t before, used;
    char *file;

    if (self < 0 || fstat(self, &st) < 0)
        fail("/proc/self/exe: %s", strerror(errno));
    file = __real_malloc((size_t)st.st_size);
    if (!file || read(self, file, (size_t)st.st_size) != st.st_size)
        fail("reading the launcher");
    segment = image_segment(file);
    header = (ElfW(Ehdr) *)file;
    before = segment->p_offset + ((ElfW(Addr))image_start - segment->p_vaddr);
    used = (size_t)(heap + warm.used - image_start);
    segment->p_filesz = before - segment->p_offset + used;
    header->e_shoff = 0;
    header->e_shnum = header->e_shstrndx = 0;
    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (fd < 0)
        fail("%s: %s", path, strerror(errno));
    write_pages(fd, file, before, 0);
    write_pages(fd, image_start, used, (off_t)before);
    if (ftruncate(fd, (off_t)(before + used)) < 0 || close(fd) < 0)
        fail("%s: %s", path, strerror(errno));
}

/* Nothing runs now: the memory of the calls that ended is rubbish. */
static void forget_calls(PyThreadState *thread)
{
    memset(thread->datastack_top, 0, (size_t)((char *)thread->datastack_limit - (char *)thread->datastack_top));
    thread->thread_id = thread->native_thread_id = _PyRuntime.main_thread = 0; /* adopt_thread() sets them */
}

/* ---- profiling ---- */

/*
 * To the interpreter this is what fork(2) is to its child: another process, with the same memory, in a new thread.
 * The thread-specific key is libc's, so it is made anew.
 */
static void adopt_thread(void)
{
    PyThreadState *thread = PyThreadState_Get();
    Py_tss_t *key = &_PyRuntime.gilstate.autoTSSkey;

    thread->thread_id = PyThread_get_thread_ident();
    memset(key, 0, sizeof(*key));
    if (PyThread_tss_create(key) != 0 || PyThread_tss_set(key, thread) != 0)
        fail("no thread-specific data");
    PyOS_AfterFork_Child();
}

static void map_spread(void *where, int flags)
{
    spread = mmap(where, SPREAD_SIZE, PROT_READ | PROT_WRITE, MAP_NORESERVE | flags, spread_fd, 0);
    if (spread == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
}

/* Whether this process has touched a page or a block; the kernel's Documentation/admin-guide/mm/pagemap.rst. */
static int page_touched(int pagemap, const char *page)
{
    const uint64_t present = 1ULL << 63;
    off_t offset = (off_t)((ElfW(Addr))page / PAGE * sizeof(uint64_t));
    uint64_t entry;

    return pread(pagemap, &entry, sizeof(entry), offset) == sizeof(entry) && (entry & present);
}

static int touched(int pagemap, const char *slot)
{
    size_t i, size;

    if (page_touched(pagemap, slot))
        return 1;
    /* Not by the mapping: that would touch it. */
    if (pread(spread_fd, &size, sizeof(size), slot - spread + (off_t)sizeof(size)) != sizeof(size))
        return 0;
    for (i = PAGE; i < size + 16; i += PAGE)
        if (page_touched(pagemap, slot + i))
            return 1;
    return 0;
}

/* A slot's number is that of the block that begins in it. */
static void note_touched(void)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    size_t slot;

    for (slot = 0; pagemap >= 0 && slot < spread_used; slot++)
        if (owner[slot] && touched(pagemap, spread + slot * SPREAD_STEP))
            profile[owner[slot]] = 1;
    close(pagemap);
}

/*
 * For the script: run(function, argument) in a child that is as if it had started from the image. Meanwhile this process
 * waits: the child reads its memory.
 */
static PyObject *profile_fork(PyObject *self, PyObject *arguments)
{
    pid_t pid = fork();
    PyObject *function, *argument;

    (void)self;
    if (pid < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (pid > 0) {
        waitpid(pid, NULL, 0);
        Py_RETURN_NONE;
    }
    alarm(30); /* a build must not hang on this */
    making = 0;
    map_spread(spread, MAP_PRIVATE | MAP_FIXED);
    adopt_thread();
    if (PyArg_ParseTuple(arguments, "OO", &function, &argument))
        PyObject_CallFunctionObjArgs(function, argument, NULL);
    note_touched();
    _exit(0);
}

static PyMethodDef fork_method = {"profile_fork", profile_fork, METH_VARARGS, NULL};

static void *map_pages(size_t size, int flags)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    if (p == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
    return p;
}

static void start_profiling(void)
{
    profile_size = 16 << 20;
    profile = map_pages(profile_size, MAP_SHARED);
    owner = map_pages(SPREAD_SLOTS * sizeof(*owner), MAP_PRIVATE);
    spread_free = map_pages(SPREAD_SLOTS * sizeof(*spread_free), MAP_PRIVATE);
    spread_fd = memfd_create("pyrunc-profile", MFD_CLOEXEC);
    if (spread_fd < 0 || ftruncate(spread_fd, SPREAD_SIZE) < 0)
        fail("memfd_create: %s", strerror(errno));
    map_spread(NULL, MAP_SHARED);
}

static void read_profile(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
        return; /* all is cold: slower, and right */
    profile = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (profile == MAP_FAILED)
        fail("%s: %s", path, strerror(errno));
    profile_size = (size_t)st.st_size;
    close(fd);
}

static void write_profile(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, profile, allocations + 1) != (ssize_t)allocations + 1)
        fail("%s: %s", path, strerror(errno));
    close(fd);
}

static int make(int argc, char **argv)
{
    int profiling;

    if (argc < 7)
        fail("usage: launcher image|profile IMAGE PROFILE SEED SEARCH-PATH SCRIPT [ARG...]");
    profiling = strcmp(argv[1], "profile") == 0;
    making = 1;
    clearenv(); /* the image holds nothing of its maker */
    mallopt(M_MMAP_THRESHOLD, 0); /* libc's own heap far from the image, so that no number looks like a pointer to it */
    if (profiling)
        start_profiling();
    else
        read_profile(argv[3]);
    allocate_from_heap();
    if (PyImport_AppendInittab("nsexec._nsexec", PyInit__nsexec) < 0)
        fail("no memory");
    start_interpreter(argv[5], strtoul(argv[4], NULL, 10));
    run_script(argv[6], argc - 6, argv + 6);
    if (profiling) {
        check_python(PyObject_CallNoArgs(image.train));
        write_profile(argv[3]);
        _exit(0);
    }
    image.train = NULL;
    warm.used = (warm.used + PAGE - 1) & ~(PAGE - 1);
    memset(cold.free_blocks, 0, sizeof(cold.free_blocks));
    memset(warm.free_blocks, 0, sizeof(warm.free_blocks));
    forget_calls(PyThreadState_Get());
    refuse_strays();
    write_image(argv[2]);
    _exit(0);
}

/* ---- starting from the image ---- */

/*
 * What Python does with signals at its start: a closed pipe is an error, not a death; an interrupt is an exception unless
 * the caller ignores it. Returns whether it is for resume() to see to that.
 */
static PyObject *adopt_signals(void)
{
    PyOS_setsig(SIGPIPE, SIG_IGN);
    PyOS_setsig(SIGXFSZ, SIG_IGN);
    return PyOS_getsig(SIGINT) == SIG_DFL ? Py_True : Py_False;
}

static int adopt_environ(void)
{
    char **variable;

    PyDict_Clear(image.environment);
    for (variable = environ; *variable; variable++) {
        const char *equals = strchr(*variable, '=');
        PyObject *name, *value;
        if (!equals)
            continue;
        name = PyBytes_FromStringAndSize(*variable, equals - *variable);
        value = PyBytes_FromString(equals + 1);
        /* As in posix.environ, of two definitions the first counts. */
        if (!name || !value || !PyDict_SetDefault(image.environment, name, value))
            return -1;
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return 0;
}

static PyObject *arguments(int argc, char **argv)
{
    PyObject *list = PyList_New(argc), *item;
    int i;

    for (i = 0; list && i < argc; i++) {
        item = PyUnicode_DecodeFSDefault(argv[i]);
        if (!item)
            return NULL;
        PyList_SET_ITEM(list, i, item);
    }
    return list;
}

int main(int argc, char **argv)
{
    PyObject *list, *result;

    if (!image.resume)
        return make(argc, argv);
    adopt_thread();
    list = arguments(argc, argv);
    check_python(list);
    check_python(adopt_environ() < 0 ? NULL : list);
    result = PyObject_CallFunctionObjArgs(image.resume, list, adopt_signals(), NULL);
    check_python(result);
    _exit((int)PyLong_AsLong(result));
}
