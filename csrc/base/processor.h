// What the processor has, asked of itself. `__builtin_cpu_supports` answers no to everything where the runtime library
// of the compiler is not GCC's or LLVM's own (zig's is not).
#pragma once
#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>

namespace mir {

struct Processor {
    bool avx2 = false;    // with FMA
    bool avx512 = false;  // F and DQ

    Processor() {
        unsigned eax, ebx, ecx1, ecx7, edx, ebx7;
        if (!__get_cpuid(1, &eax, &ebx, &ecx1, &edx) || !(ecx1 & bit_OSXSAVE)) return;
        if (!__get_cpuid_count(7, 0, &eax, &ebx7, &ecx7, &edx)) return;
        const uint64_t saved = saved_by_system();
        const bool ymm = (saved & YMM) == YMM;
        avx2 = ymm && (ecx1 & bit_AVX) && (ecx1 & bit_FMA) && (ebx7 & bit_AVX2);
#if defined(__APPLE__)
        const bool zmm = ymm;  // macOS begins to save them when a process first uses one
#else
        const bool zmm = ymm && (saved & ZMM) == ZMM;
#endif
        avx512 = avx2 && zmm && (ebx7 & bit_AVX512F) && (ebx7 & bit_AVX512DQ);
    }

  private:
    // Registers that the system saves when it switches to another thread: XMM and YMM; masks, and both halves of ZMM.
    static constexpr uint64_t YMM = 0x6, ZMM = 0xe0;

    static uint64_t saved_by_system() {
        uint32_t low, high;
        asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return uint64_t(high) << 32 | low;
    }
};

}  // namespace mir
#endif
