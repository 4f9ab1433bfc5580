// The C ABI, and the choice of instruction set when the library is loaded.
#include <cstdlib>
#include <cstring>

#include "table.h"

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
#endif

namespace {

struct Choice {
    const char *name;
    const mir::Table *table;
};

// MAMBAIRV2_ISA names a smaller set than the machine has, for tests and comparisons.
Choice choose() {
    const char *wanted = std::getenv("MAMBAIRV2_ISA");
#ifdef MIR_X86
    auto allowed = [&](const char *name) { return !wanted || !*wanted || std::strcmp(wanted, name) == 0; };
    if (allowed("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"))
        return {"avx512", &avx512::table};
    if ((allowed("avx2") || allowed("avx512")) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return {"avx2", &avx2::table};
#endif
    (void)wanted;
    return {"portable", &portable::table};
}

const Choice &chosen() {
    static const Choice choice = choose();
    return choice;
}

}  // namespace

#if defined(_WIN32)
#define API extern "C" __declspec(dllexport)
#else
#define API extern "C" __attribute__((visibility("default")))
#endif

API int mambairv2_abi() { return 8; }
API const char *mambairv2_isa() { return chosen().name; }
API int mambairv2_width_f32() { return chosen().table->width_f32; }
API int mambairv2_width_f64() { return chosen().table->width_f64; }

#define BOTH(NAME, ARGS)                                                                              \
    API void mambairv2_##NAME##_f32(const mir::ARGS<float> *a) { chosen().table->NAME##_f32(*a); } \
    API void mambairv2_##NAME##_f64(const mir::ARGS<double> *a) { chosen().table->NAME##_f64(*a); }

BOTH(scan_forward, ScanArgs)
BOTH(scan_backward, ScanGradArgs)
BOTH(attention_forward, AttentionArgs)
BOTH(attention_block_forward, AttentionBlockArgs)
BOTH(attention_backward, AttentionGradArgs)
BOTH(likeliest, RoutingArgs)
BOTH(choose, ChoiceArgs)
BOTH(linear_forward, LinearArgs)
BOTH(linear_backward, LinearGradArgs)
BOTH(depthwise_forward, DepthwiseArgs)
BOTH(depthwise_backward, DepthwiseGradArgs)
BOTH(conv_block_forward, ConvBlockArgs)
BOTH(scan_pass_forward, ScanPassArgs)
BOTH(noise, NoiseArgs)
BOTH(draw_forward, DrawArgs)
BOTH(draw_backward, DrawGradArgs)
API void mambairv2_sort_by_label_f32(const mir::RoutingArgs<float> *a) { chosen().table->sort_by_label(*a); }
