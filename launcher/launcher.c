/*
 * The `pyrunc` command: an interpreter that was started at build time.
 *
 * Starting CPython costs 5 ms, importing the runtime 10 ms more: several times what the kernel needs for a container.
 * So `launcher IMAGE SCRIPT ...` does both once, at `make`, and writes IMAGE: a copy of this program whose data segment
 * holds the started interpreter. Running IMAGE maps it, takes over argv and environ, and goes on where SCRIPT ended.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if PY_VERSION_HEX < 0x030b0000 || PY_VERSION_HEX >= 0x030c0000
#error "the image was verified with CPython 3.11 only: other versions use the script launcher"
#endif

#define PAGE 4096UL
#define HEAP_SIZE (24UL << 20)

extern char image_start[], image_end[], **environ;
PyMODINIT_FUNC PyInit__nsexec(void);

static char heap[HEAP_SIZE] __attribute__((section(".image.heap"), aligned(4096)));
/* What a process that starts from the image needs to find; zero in the launcher itself. */
static struct {
    PyObject *resume;      /* called with argv, and whether to catch SIGINT */
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
static struct block *free_blocks[CLASSES] __attribute__((section(".image.data")));
static size_t heap_used __attribute__((section(".image.data")));

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void __real_free(void *);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void __wrap_free(void *);

static int in_heap(const void *p)
{
    return (const char *)p >= heap && (const char *)p < heap + HEAP_SIZE;
}

static size_t payload(const void *p)
{
    return ((const size_t *)p)[-1];
}

static void *take(size_t size, size_t alignment)
{
    size_t start = (heap_used + alignment - 1) & ~(alignment - 1);

    if (start + size > HEAP_SIZE)
        return NULL;
    heap_used = start + size;
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

static void *heap_malloc(size_t size)
{
    size_t *header, rounded;
    struct block *block;
    int index;

    rounded = size_class(size, &index);
    if (rounded < size)
        return NULL;
    block = free_blocks[index];
    if (block) {
        free_blocks[index] = block->next;
        block->next = NULL;
        return &block->next;
    }
    header = take(rounded + 16, 16);
    if (!header)
        return NULL;
    header[1] = rounded;
    return header + 2;
}

static void heap_free(void *p)
{
    struct block *block = (struct block *)((size_t *)p - 1);
    int index;

    if (making)
        memset(p, 0, block->size);
    size_class(block->size, &index);
    block->next = free_blocks[index];
    free_blocks[index] = block;
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
        return __real_realloc(old, size);
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
    return making ? take(size, PAGE) : __real_malloc(size);
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

/* Run the script; it leaves a function `resume`. */
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
    check_python(PyRun_FileEx(file, "image.py", Py_file_input, globals, globals, 1));
    image.resume = PyDict_GetItemString(globals, "resume");
    environment = PyImport_ImportModule("posix");
    check_python(environment);
    image.environment = PyObject_GetAttrString(environment, "environ");
    if (!image.resume || !image.environment)
        fail("%s leaves no resume()", script);
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
    const char *end = heap + heap_used, *word;

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
    used = (size_t)(heap + heap_used - image_start);
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

static int make_image(int argc, char **argv)
{
    if (argc < 4)
        fail("usage: launcher IMAGE SEED SEARCH-PATH SCRIPT [ARG...]");
    making = 1;
    clearenv(); /* the image holds nothing of its maker */
    mallopt(M_MMAP_THRESHOLD, 0); /* libc's own heap far from the image, so that no number looks like a pointer to it */
    allocate_from_heap();
    if (PyImport_AppendInittab("nsexec._nsexec", PyInit__nsexec) < 0)
        fail("no memory");
    start_interpreter(argv[3], strtoul(argv[2], NULL, 10));
    run_script(argv[4], argc - 4, argv + 4);
    heap_used = (heap_used + PAGE - 1) & ~(PAGE - 1);
    memset(free_blocks, 0, sizeof(free_blocks));
    forget_calls(PyThreadState_Get());
    refuse_strays();
    write_image(argv[1]);
    _exit(0);
}

/* ---- starting from the image ---- */

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
        return make_image(argc, argv);
    adopt_thread();
    list = arguments(argc, argv);
    check_python(list);
    check_python(adopt_environ() < 0 ? NULL : list);
    result = PyObject_CallFunctionObjArgs(image.resume, list, adopt_signals(), NULL);
    check_python(result);
    _exit((int)PyLong_AsLong(result));
}
