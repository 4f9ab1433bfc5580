// The kernels for one instruction set: compiled once for each, into a namespace of its own.
#include "attention.h"
#include "conv_block.h"
#include "depthwise.h"
#include "draw.h"
#include "linear.h"
#include "routing.h"
#include "scan.h"
#include "scan_pass.h"

#include "table.h"

namespace MIR_ISA {

extern const mir::Table table;
const mir::Table table = {
    Simd<float>::W, Simd<double>::W,
    scan_forward<float>, scan_forward<double>,
    scan_backward<float>, scan_backward<double>,
    attention_forward<float>, attention_forward<double>,
    attention_block_forward<float>, attention_block_forward<double>,
    attention_backward<float>, attention_backward<double>,
    likeliest<float>, likeliest<double>,
    choose<float>, choose<double>,
    linear_forward<float>, linear_forward<double>,
    linear_backward<float>, linear_backward<double>,
    depthwise_forward<float>, depthwise_forward<double>,
    depthwise_backward<float>, depthwise_backward<double>,
    conv_block_forward<float>, conv_block_forward<double>,
    scan_pass_forward<float>, scan_pass_forward<double>,
    noise<float>, noise<double>,
    draw_forward<float>, draw_forward<double>,
    draw_backward<float>, draw_backward<double>,
    sort_by_label<float>,
};

}  // namespace MIR_ISA
