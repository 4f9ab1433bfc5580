// The attentive scan from the layer norm before it to the map behind it, for inference.
#pragma once
#include "abi/structs.h"
#include "base/memory.h"
#include "blocks/conv_block.h"
#include "dense/linear.h"
#include "scan/forward.h"

namespace MIR_ISA {

using mir::ScanPassArgs;

// A token of y takes the place of the same token of u, which nobody reads again; so does the result that of y.
template <class T> void scan_pass_forward(const ScanPassArgs<T> &a) {
    ConvBlockArgs<T> into = a.into;
    LinearArgs<T> project = a.project, back = a.back;
    ScanArgs<T> scan = a.scan;
    Scratch<T> projected(project.rows * project.out), last(scan.batch * scan.channels * scan.n);
    into.conv.y = back.y;
    project.x = back.y, project.y = projected.data();
    scan.u = scan.y = back.y, scan.last = last.data();
    scan.delta = projected.data(), scan.B = scan.delta + scan.rank, scan.C = scan.B + scan.n;
    back.x = back.y;
    conv_block_forward(into);
    linear_forward(project);
    scan_forward(scan);
    linear_forward(back);
}

}  // namespace MIR_ISA
