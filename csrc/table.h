// The functions that each instruction set offers.
#pragma once
#include "args.h"

namespace mir {

struct Table {
    int width_f32, width_f64;
    void (*scan_forward_f32)(const ScanArgs<float> &);
    void (*scan_forward_f64)(const ScanArgs<double> &);
    void (*scan_backward_f32)(const ScanGradArgs<float> &);
    void (*scan_backward_f64)(const ScanGradArgs<double> &);
    void (*attention_forward_f32)(const AttentionArgs<float> &);
    void (*attention_forward_f64)(const AttentionArgs<double> &);
    void (*attention_block_forward_f32)(const AttentionBlockArgs<float> &);
    void (*attention_block_forward_f64)(const AttentionBlockArgs<double> &);
    void (*attention_backward_f32)(const AttentionGradArgs<float> &);
    void (*attention_backward_f64)(const AttentionGradArgs<double> &);
    void (*likeliest_f32)(const RoutingArgs<float> &);
    void (*likeliest_f64)(const RoutingArgs<double> &);
    void (*choose_f32)(const ChoiceArgs<float> &);
    void (*choose_f64)(const ChoiceArgs<double> &);
    void (*linear_forward_f32)(const LinearArgs<float> &);
    void (*linear_forward_f64)(const LinearArgs<double> &);
    void (*linear_backward_f32)(const LinearGradArgs<float> &);
    void (*linear_backward_f64)(const LinearGradArgs<double> &);
    void (*depthwise_forward_f32)(const DepthwiseArgs<float> &);
    void (*depthwise_forward_f64)(const DepthwiseArgs<double> &);
    void (*depthwise_backward_f32)(const DepthwiseGradArgs<float> &);
    void (*depthwise_backward_f64)(const DepthwiseGradArgs<double> &);
    void (*conv_block_forward_f32)(const ConvBlockArgs<float> &);
    void (*conv_block_forward_f64)(const ConvBlockArgs<double> &);
    void (*scan_pass_forward_f32)(const ScanPassArgs<float> &);
    void (*scan_pass_forward_f64)(const ScanPassArgs<double> &);
    void (*noise_f32)(const NoiseArgs<float> &);
    void (*noise_f64)(const NoiseArgs<double> &);
    void (*draw_forward_f32)(const DrawArgs<float> &);
    void (*draw_forward_f64)(const DrawArgs<double> &);
    void (*draw_backward_f32)(const DrawGradArgs<float> &);
    void (*draw_backward_f64)(const DrawGradArgs<double> &);
    void (*sort_by_label)(const RoutingArgs<float> &);
};

}  // namespace mir
