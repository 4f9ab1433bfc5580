// The kernels of one instruction set. This file is compiled once for each, into a namespace of its own.
#include "abi/table.h"
#include "attention/backward.h"
#include "attention/forward.h"
#include "blocks/attention_block.h"
#include "blocks/conv_block.h"
#include "dense/depthwise.h"
#include "dense/depthwise_backward.h"
#include "dense/linear.h"
#include "dense/linear_backward.h"
#include "routing/draw.h"
#include "routing/noise.h"
#include "routing/prompts.h"
#include "scan/backward.h"
#include "scan/forward.h"

namespace MIR_ISA {

extern const mir::Table table;
const mir::Table table = {
    Simd<float>::W,
    Simd<double>::W,
#define KERNEL(NAME, ARGS) NAME<float>, NAME<double>,
#include "abi/kernels.def"
#undef KERNEL
};

}  // namespace MIR_ISA
