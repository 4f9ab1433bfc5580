// The C ABI: the functions that Python calls, and the choice of instruction set when the library is loaded.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "abi/table.h"
#include "base/processor.h"

namespace portable {
extern const mir::Table table;
}
#ifdef MIR_X86
namespace avx2 {
extern const mir::Table table;
}
namespace avx512 {
extern const mir::Table table;
}
namespace avx512bf16 {
extern const mir::Bfloat16Table bfloat16;
}
#endif

namespace {

struct Choice {
    const char *name;
    const mir::Table *table;
    const mir::Bfloat16Table *bfloat16 = nullptr;
};

// MAMBAIRV2_ISA names a smaller set than the machine has, for tests and comparisons.
Choice choose() {
    const char *wanted = std::getenv("MAMBAIRV2_ISA");
#ifdef MIR_X86
    auto allowed = [&](const char *name) { return !wanted || !*wanted || std::strcmp(wanted, name) == 0; };
    const mir::Processor has;
    const bool bfloat16 = allowed("avx512bf16"), avx512 = bfloat16 || allowed("avx512"),
               avx2 = avx512 || allowed("avx2");
    if (bfloat16 && has.avx512bf16) return {"avx512bf16", &avx512::table, &avx512bf16::bfloat16};
    if (avx512 && has.avx512) return {"avx512", &avx512::table};
    if (avx2 && has.avx2) return {"avx2", &avx2::table};
#endif
    (void)wanted;
    return {"portable", &portable::table};
}

const Choice &chosen() {
    static const Choice choice = choose();
    return choice;
}

// What a caller has to agree with: constants, and the size of each struct.
struct Entry {
    const char *name;
    int64_t value;
};
constexpr Entry LAYOUT[] = {
    {"ABI", mir::ABI},
    {"SCAN_CHUNK", mir::SCAN_CHUNK},
    {"MAX_RANK", mir::MAX_RANK},
    {"MAX_STATES", mir::MAX_STATES},
    {"MAX_KERNEL", mir::MAX_KERNEL},
    {"WINDOW", mir::WINDOW},
    {"TABLE", mir::TABLE},
    {"MESSAGE", mir::MESSAGE},
#define KERNEL(NAME, ARGS) {#ARGS, sizeof(mir::ARGS<float>)},
#include "abi/kernels.def"
#undef KERNEL
    {nullptr, 0},
};
#define KERNEL(NAME, ARGS) static_assert(sizeof(mir::ARGS<float>) == sizeof(mir::ARGS<double>), #ARGS " holds a value");
#include "abi/kernels.def"
#undef KERNEL

// Runs a kernel. No exception may leave a C function: it becomes a status and, where it is not for lack of memory, a
// text.
template <class A> mir::Status guarded(void (*kernel)(const A &), const A &args, char *message) noexcept {
    try {
        kernel(args);
        return mir::OK;
    } catch (const std::bad_alloc &) {
        return mir::OUT_OF_MEMORY;
    } catch (const std::exception &error) {
        std::snprintf(message, mir::MESSAGE, "%s", error.what());
    } catch (...) {
        std::snprintf(message, mir::MESSAGE, "unknown exception");
    }
    return mir::FAILED;
}

}  // namespace

#if defined(_WIN32)
#define API extern "C" __declspec(dllexport)
#else
#define API extern "C" __attribute__((visibility("default")))
#endif

API const Entry *mambairv2_layout() { return LAYOUT; }
API const char *mambairv2_isa() { return chosen().name; }
API int mambairv2_has_bfloat16() { return chosen().bfloat16 != nullptr; }
API int mambairv2_width_f32() { return chosen().table->width_f32; }
API int mambairv2_width_f64() { return chosen().table->width_f64; }

// message: room for MESSAGE characters, written where the status is FAILED.
#define KERNEL(NAME, ARGS)                                                                 \
    API mir::Status mambairv2_##NAME##_f32(const mir::ARGS<float> *args, char *message) {  \
        return guarded(chosen().table->NAME##_f32, *args, message);                        \
    }                                                                                      \
    API mir::Status mambairv2_##NAME##_f64(const mir::ARGS<double> *args, char *message) { \
        return guarded(chosen().table->NAME##_f64, *args, message);                        \
    }
#include "abi/kernels.def"
#undef KERNEL

#define KERNEL(NAME, ARGS)                                                                     \
    API mir::Status mambairv2_##NAME##_bf16(const mir::ARGS<float> *args, char *message) {     \
        if (chosen().bfloat16) return guarded(chosen().bfloat16->NAME, *args, message);        \
        std::snprintf(message, mir::MESSAGE, "%s has no products of bfloat16", chosen().name); \
        return mir::FAILED;                                                                    \
    }
#include "abi/bfloat16.def"
#undef KERNEL
