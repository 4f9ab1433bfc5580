// Window attention with the layer norm and the linear maps around it, in one pass.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "abi/structs.h"
#include "attention/bfloat16.h"
#include "attention/forward.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dense/linear.h"

namespace MIR_ISA {

using mir::AttentionBlockArgs;

// From the layer norm to the projection, a window at a time: queries, keys and values of the image are never written.
// F: what is multiplied; bfloat16 at inference only, where neither `mixed` nor `lse` is asked for.
template <class T, class F = T> void attention_block_forward(const AttentionBlockArgs<T> &a) {
    using V = Vec<T>;
    constexpr bool PLAIN = std::is_same_v<T, F>;
    const AttentionArgs<T> &attention = a.attention;
    const int64_t windows = attention.height / WINDOW * (attention.width / WINDOW),
                  embed = attention.heads * attention.dim;
    const LinearArgs<T> in{a.x,     a.qkv_weight, a.qkv_bias, a.gamma,   a.beta, nullptr, nullptr, nullptr,
                           nullptr, TOKENS,       embed,      3 * embed, embed,  a.eps,   0,       1};
    const LinearArgs<T> back{nullptr, a.proj_weight, a.proj_bias, nullptr, nullptr, nullptr, nullptr, nullptr,
                             nullptr, TOKENS,        embed,       embed,   embed,   0,       0,       1};
    const Scratch<Factors<F>> in_columns = panels<T, F>(in.weight, in.out, in.in),
                              back_columns = panels<T, F>(back.weight, back.out, back.in);
    const int64_t qkv_row = PLAIN ? 3 * embed : whole_vectors<T>(3 * embed),
                  mixed_row = PLAIN ? embed : whole_vectors<T>(embed);
    Buffer<T> scale;  // of the queries, to scores
    if constexpr (!PLAIN) {
        scale.assign(3 * embed, T(1));
        std::fill_n(scale.begin(), embed, T(SCORE_UNIT * 1.4426950408889634074) / std::sqrt(T(attention.dim)));
    }
    const auto tables = [&] {
        if constexpr (PLAIN)
            return Tables<T>(attention, false);
        else
            return ScoreTables(attention);
    }();
    mir::parallel(attention.batch * windows, attention.threads, [&](int64_t task) {
        const Window<T> w(attention, task / windows, task % windows);
        Scratch<T> buffer;
        Scratch<F> qkv(TOKENS * qkv_row + 3), mixed(TOKENS * mixed_row);
        if (mixed_row > embed) std::fill(mixed.begin(), mixed.end(), F{});  // the last pair of a token may be half full
        LinearBlock<T, F> to_qkv(in, in_columns.data()), project(back, back_columns.data());
        for (int64_t r0 = 0; r0 < TOKENS; r0 += LINEAR_BLOCK) {
            to_qkv.gather(LINEAR_BLOCK, [&](int64_t r) { return a.x + w.token[r0 + r] * embed; });
            to_qkv.template map<false>(LINEAR_BLOCK, [to = qkv.data() + r0 * qkv_row, qkv_row, scale = scale.data()](
                                                         int64_t r, int64_t o, int lanes, V v) {
                if constexpr (!PLAIN) v *= load(scale + o, lanes);
                store(to + r * qkv_row + o, v, lanes);
            });
        }
        if constexpr (PLAIN) {
            int64_t own[TOKENS];
            for (int i = 0; i < TOKENS; i++) own[i] = i;
            T *lse = attention.lse ? attention.lse + task * attention.heads * TOKENS : nullptr;
            attend<T>(attention, tables, w, own, qkv.data(), mixed.data(), lse, buffer, true);
            for (int i = 0; a.mixed && i < TOKENS; i++)
                std::copy_n(&mixed[i * embed], embed, a.mixed + w.token[i] * embed);
        } else {
            attend(attention, tables, w, qkv.data(), qkv_row, mixed.data(), mixed_row, buffer);
        }
        for (int64_t r0 = 0; r0 < TOKENS; r0 += LINEAR_BLOCK) {
            project.view(mixed.data() + r0 * mixed_row, mixed_row);
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
