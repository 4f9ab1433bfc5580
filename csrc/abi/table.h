// The kernels of one instruction set.
#pragma once
#include "abi/structs.h"

namespace mir {

struct Table {
    int width_f32, width_f64;  // values in a vector
#define KERNEL(NAME, ARGS)                   \
    void (*NAME##_f32)(const ARGS<float> &); \
    void (*NAME##_f64)(const ARGS<double> &);
#include "abi/kernels.def"
#undef KERNEL
};

struct Bfloat16Table {
#define KERNEL(NAME, ARGS) void (*NAME)(const ARGS<float> &);
#include "abi/bfloat16.def"
#undef KERNEL
};

}  // namespace mir
