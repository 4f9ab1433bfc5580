// What the processor has, asked of itself. `__builtin_cpu_supports` answers no to everything where the runtime library
// of the compiler is not GCC's or LLVM's own (zig's is not).
#pragma once
#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>

namespace mir {

struct Processor {
    bool avx2 = false;        // with FMA
    bool avx512 = false;      // F and DQ
    bool avx512bf16 = false;  // with BW, VL and VBMI

    Processor() {
        unsigned eax, ebx, ecx, ecx1, ecx7, edx, ebx7, eax71;
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
        // eax: the last leaf of the seventh kind
        if (eax < 1 || !__get_cpuid_count(7, 1, &eax71, &ebx, &ecx, &edx)) return;
        avx512bf16 =
            avx512 && (ebx7 & bit_AVX512BW) && (ebx7 & bit_AVX512VL) && (ecx7 & bit_AVX512VBMI) && (eax71 & BF16);
    }

  private:
    static constexpr unsigned BF16 = 1 << 5;
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
