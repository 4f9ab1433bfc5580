// Calls every kernel of a library with recorded arguments and compares what it writes: `replay LIBRARY CASES`.
// It needs neither Python nor torch, so it runs on other processors (qemu) and systems (Wine). record.py writes CASES.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "abi/structs.h"

namespace {

constexpr char MAGIC[] = "mambairv2 cases 1";
constexpr int THREADS[] = {1, 3};

// As in tests/ops: the largest difference, as a share of the largest number that was written.
enum Kind : int32_t { FLOAT = 0, DOUBLE = 1, INTEGER = 2 };
constexpr double ALLOWED[] = {1e-4, 1e-10, 0};

[[noreturn]] void fail(const std::string &text) { throw std::runtime_error(text); }

struct Library {
    explicit Library(const char *path) {
#if defined(_WIN32)
        handle = LoadLibraryA(path);
        if (!handle) fail(std::string(path) + " could not be loaded: error " + std::to_string(GetLastError()));
#else
        handle = dlopen(path, RTLD_NOW);
        if (!handle) fail(dlerror());
#endif
    }
    template <class F> F find(const std::string &name) const {
#if defined(_WIN32)
        auto found = reinterpret_cast<void *>(GetProcAddress(handle, name.c_str()));
#else
        void *found = dlsym(handle, name.c_str());
#endif
        if (!found) fail("the library has no " + name);
        return reinterpret_cast<F>(found);
    }
#if defined(_WIN32)
    HMODULE handle;
#else
    void *handle;
#endif
};

struct File {
    explicit File(const char *path) : file(std::fopen(path, "rb")) {
        if (!file) fail(std::string(path) + " could not be opened");
    }
    ~File() { std::fclose(file); }
    void read(void *to, size_t size) {
        if (size && std::fread(to, size, 1, file) != 1) fail("the file of cases ends too early");
    }
    int64_t number() {
        int64_t value;
        read(&value, sizeof value);
        return value;
    }
    std::vector<char> bytes() {
        std::vector<char> found(number());
        read(found.data(), found.size());
        return found;
    }
    std::string text() {
        const auto found = bytes();
        return std::string(found.begin(), found.end());
    }
    std::FILE *file;
};

struct Buffer {
    Kind kind;
    std::vector<char> before, after;
};

struct Case {
    std::string kernel;
    std::vector<char> args;
    std::vector<int64_t> threads;  // where the struct has the number of threads
    struct Pointer {
        int64_t at, buffer, offset;
    };
    std::vector<Pointer> pointers;
    std::vector<Buffer> buffers;

    explicit Case(File &file) : kernel(file.text()) {
        if (kernel.empty()) return;
        args = file.bytes();
        threads.resize(file.number());
        for (auto &at : threads) at = file.number();
        pointers.resize(file.number());
        for (auto &p : pointers) p.at = file.number(), p.buffer = file.number(), p.offset = file.number();
        buffers.resize(file.number());
        for (auto &b : buffers) b.kind = Kind(file.number()), b.before = file.bytes(), b.after = file.bytes();
    }
};

// The largest difference between found and expected, as a share of the largest number that the kernel wrote.
template <class T>
double difference(const std::vector<char> &before, const std::vector<char> &expected, const std::vector<char> &found) {
    double largest = 0, worst = 0;
    for (size_t i = 0; i + sizeof(T) <= expected.size(); i += sizeof(T)) {
        if (std::memcmp(&expected[i], &before[i], sizeof(T)) == 0) {  // not written: it must stay as it was
            if (std::memcmp(&expected[i], &found[i], sizeof(T)) == 0) continue;
        } else if (std::memcmp(&expected[i], &found[i], sizeof(T)) == 0) {
            T right;
            std::memcpy(&right, &expected[i], sizeof(T));
            if (std::isfinite(double(right))) largest = std::fmax(largest, std::fabs(double(right)));
            continue;
        }
        T right, here;
        std::memcpy(&right, &expected[i], sizeof(T));
        std::memcpy(&here, &found[i], sizeof(T));
        const double apart = std::fabs(double(here) - double(right));
        if (!std::isfinite(apart)) return INFINITY;
        worst = std::fmax(worst, apart), largest = std::fmax(largest, std::fabs(double(right)));
    }
    return worst == 0 ? 0 : worst / std::fmax(largest, 1e-3);
}

double difference(const Buffer &buffer, const std::vector<char> &found) {
    switch (buffer.kind) {
    case FLOAT: return difference<float>(buffer.before, buffer.after, found);
    case DOUBLE: return difference<double>(buffer.before, buffer.after, found);
    case INTEGER: return buffer.after == found ? 0 : INFINITY;
    }
    fail("a buffer of unknown kind");
}

// The largest share of what is allowed that a case used.
double replay(const Library &library, const Case &c, int threads) {
    std::vector<std::vector<char>> rooms;
    for (const auto &buffer : c.buffers) rooms.push_back(buffer.before);
    auto args = c.args;
    for (const auto &p : c.pointers) {
        const void *to = rooms.at(p.buffer).data() + p.offset;
        std::memcpy(&args.at(p.at), &to, sizeof to);
    }
    for (const auto at : c.threads) {
        const int32_t count = threads;
        std::memcpy(&args.at(at), &count, sizeof count);
    }
    char message[mir::MESSAGE] = "";
    using Kernel = mir::Status (*)(const void *, char *);
    const auto status = library.find<Kernel>("mambairv2_" + c.kernel)(args.data(), message);
    if (status != mir::OK) fail(c.kernel + " returned " + std::to_string(status) + " " + message);
    double worst = 0;
    for (size_t i = 0; i < rooms.size(); i++) {
        const double found = difference(c.buffers[i], rooms[i]), allowed = ALLOWED[c.buffers[i].kind];
        if (found > allowed)
            fail(c.kernel + " on " + std::to_string(threads) + " threads: buffer " + std::to_string(i) +
                 " differs by " + std::to_string(found) + " of its largest number");
        worst = std::fmax(worst, found);
    }
    return worst;
}

void check_layout(const Library &library, File &file) {
    struct Entry {
        const char *name;
        int64_t value;
    };
    std::map<std::string, int64_t> there;
    for (auto entry = library.find<const Entry *(*)()>("mambairv2_layout")(); entry->name; entry++)
        there[entry->name] = entry->value;
    for (int64_t count = file.number(); count > 0; count--) {
        const auto name = file.text();
        const auto value = file.number();
        if (!there.count(name) || there[name] != value) fail("the layouts differ in " + name);
    }
    for (const char *name : {"mambairv2_width_f32", "mambairv2_width_f64"}) {
        const int width = library.find<int (*)()>(name)();
        if (file.number() != width) fail(std::string(name) + " is " + std::to_string(width) + ": other cases needed");
    }
}

void run(const char *library_path, const char *cases_path) {
    const Library library(library_path);
    File file(cases_path);
    if (file.text() != MAGIC) fail(std::string(cases_path) + " has no cases of this version");
    check_layout(library, file);
    struct Found {
        int cases = 0;
        double worst = 0;
    };
    std::map<std::string, Found> kernels;
#define KERNEL(NAME, ARGS) kernels[#NAME "_f32"], kernels[#NAME "_f64"];
#include "abi/kernels.def"
#undef KERNEL
    while (true) {
        const Case c(file);
        if (c.kernel.empty()) break;
        if (!kernels.count(c.kernel)) fail("a case of " + c.kernel + ", which is no kernel");
        Found &found = kernels[c.kernel];
        found.cases++;
        for (const int threads : THREADS) found.worst = std::fmax(found.worst, replay(library, c, threads));
    }
    std::printf("instruction set: %s\n", library.find<const char *(*)()>("mambairv2_isa")());
    for (const auto &[name, found] : kernels) {
        if (!found.cases) fail("no case of " + name);
        std::printf("%-28s %3d cases, differs by %.1e at most\n", name.c_str(), found.cases, found.worst);
    }
}

}  // namespace

int main(int count, char **words) {
    if (count != 3) {
        std::fprintf(stderr, "usage: replay LIBRARY CASES\n");
        return 2;
    }
    try {
        run(words[1], words[2]);
        std::printf("all kernels agree\n");
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "replay: %s\n", error.what());
        return 1;
    }
}
