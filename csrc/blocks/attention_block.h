// Window attention with the layer norm and the linear maps around it, in one pass.
#pragma once
#include <algorithm>
#include <cstdint>

#include "abi/structs.h"
#include "attention/forward.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dense/linear.h"

namespace MIR_ISA {

using mir::AttentionBlockArgs;

// From the layer norm to the projection, a window at a time: queries, keys and values of the image are never written.
template <class T> void attention_block_forward(const AttentionBlockArgs<T> &a) {
    using V = Vec<T>;
    const AttentionArgs<T> &attention = a.attention;
    const int64_t windows = attention.height / WINDOW * (attention.width / WINDOW),
                  embed = attention.heads * attention.dim;
    const Tables<T> tables(attention, false);
    const LinearArgs<T> in{a.x,     a.qkv_weight, a.qkv_bias, a.gamma,   a.beta, nullptr, nullptr, nullptr,
                           nullptr, TOKENS,       embed,      3 * embed, embed,  a.eps,   0,       1};
    const LinearArgs<T> back{nullptr, a.proj_weight, a.proj_bias, nullptr, nullptr, nullptr, nullptr, nullptr,
                             nullptr, TOKENS,        embed,       embed,   embed,   0,       0,       1};
    const Scratch<T> in_columns = panels(in.weight, in.out, in.in),
                     back_columns = panels(back.weight, back.out, back.in);
    mir::parallel(attention.batch * windows, attention.threads, [&](int64_t task) {
        const Window<T> w(attention, task / windows, task % windows);
        Scratch<T> buffer, qkv(TOKENS * 3 * embed + 3), mixed(TOKENS * embed);
        LinearBlock<T> to_qkv(in, in_columns.data()), project(back, back_columns.data());
        int64_t own[TOKENS];
        for (int i = 0; i < TOKENS; i++) own[i] = i;
        for (int64_t r0 = 0; r0 < TOKENS; r0 += LINEAR_BLOCK) {
            to_qkv.gather(LINEAR_BLOCK, [&](int64_t r) { return a.x + w.token[r0 + r] * embed; });
            T *to = qkv.data() + r0 * 3 * embed;
            to_qkv.template map<false>(
                LINEAR_BLOCK, [=](int64_t r, int64_t o, int lanes, V v) { store(to + r * 3 * embed + o, v, lanes); });
        }
        T *lse = attention.lse ? attention.lse + task * attention.heads * TOKENS : nullptr;
        attend<T>(attention, tables, w, own, qkv.data(), mixed.data(), lse, buffer, true);
        for (int i = 0; a.mixed && i < TOKENS; i++) std::copy_n(&mixed[i * embed], embed, a.mixed + w.token[i] * embed);
        for (int64_t r0 = 0; r0 < TOKENS; r0 += LINEAR_BLOCK) {
            project.view(mixed.data() + r0 * embed, embed);
            const int64_t *token = w.token + r0;
            const T *x = a.x;
            T *out = attention.out;
            project.template map<false>(LINEAR_BLOCK, [=](int64_t r, int64_t o, int lanes, V v) {
                const int64_t at = token[r] * embed + o;
                store(out + at, v + load(x + at, lanes), lanes);
            });
        }
    });
}

}  // namespace MIR_ISA
