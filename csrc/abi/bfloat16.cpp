// The kernels that multiply in bfloat16, compiled once for each instruction set that has it.
#include "abi/table.h"
#include "blocks/attention_block.h"
#include "blocks/conv_block.h"
#include "dense/linear.h"

namespace MIR_ISA {

extern const mir::Bfloat16Table bfloat16;
const mir::Bfloat16Table bfloat16 = {
#define KERNEL(NAME, ARGS) NAME<float, Bf16>,
#include "abi/bfloat16.def"
#undef KERNEL
};

}  // namespace MIR_ISA
