// Routing: the likeliest prompt of each token, and the tokens in the order of their prompts.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/lanes.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dense/linear.h"

namespace MIR_ISA {

using mir::ChoiceArgs;
using mir::RoutingArgs;

// The first largest of n values; the last of them where none is a number.
template <class T> inline int64_t first_largest(const T *x, int64_t n) {
    constexpr int W = Simd<T>::W;
    using I = typename Simd<T>::I;
    using Lane = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    I lane;
    for (int l = 0; l < W; l++) lane[l] = l;
    Vec<T> top = splat(-std::numeric_limits<T>::infinity());
    I at = lane;  // where each lane met its largest
    int64_t i = 0;
    for (; i + W <= n; i += W) {
        const Vec<T> v = load(x + i);
        const auto more = v > top;
        top = more ? v : top, at = more ? lane + (Lane)i : at;
    }
    T most = Halves<T, W>::fold(top, [](auto a, auto b) { return a > b ? a : b; });
    const I found = top == splat(most) ? at : I{} + (Lane)(n - 1);
    int64_t first = Halves<Lane, W>::fold(found, [](auto a, auto b) { return a < b ? a : b; });
    if (i == 0) first = n - 1;
    for (; i < n; i++)
        if (x[i] > most) most = x[i], first = i;
    return first;
}

template <class T> void likeliest(const RoutingArgs<T> &a) {
    constexpr int64_t PART = 1024;
    const int64_t tokens = a.batch * a.length;
    mir::parallel((tokens + PART - 1) / PART, a.threads, [&](int64_t part) {
        for (int64_t t = part * PART; t < std::min(tokens, (part + 1) * PART); t++)
            a.label[t] = first_largest(a.logits + t * a.prompts, a.prompts);
    });
}

// From the tokens to their prompts, a block at a time: the logits of the image are never written.
template <class T> void choose(const ChoiceArgs<T> &a) {
    using V = Vec<T>;
    const Scratch<T> first_columns = panels(a.first.weight, a.first.out, a.first.in);
    const Scratch<T> second_columns = panels(a.second.weight, a.second.out, a.second.in);
    const int64_t middle = whole_vectors<T>(a.first.out), prompts = a.second.out, wide = whole_vectors<T>(prompts);
    mir::parallel((a.first.rows + LINEAR_BLOCK - 1) / LINEAR_BLOCK, a.first.threads, [&](int64_t task) {
        const int64_t r0 = task * LINEAR_BLOCK, count = std::min<int64_t>(LINEAR_BLOCK, a.first.rows - r0);
        LinearBlock<T> first(a.first, first_columns.data()), second(a.second, second_columns.data());
        Scratch<T> hidden(LINEAR_BLOCK * middle), logits(LINEAR_BLOCK * wide);
        T *to = hidden.data(), *scores = logits.data();
        first.stage(r0, count, false);
        first.template map<true>(count,
                                 [=](int64_t r, int64_t o, int, V v) { store(to + r * middle + o, gelu<T>(v)); });
        second.view(to, middle);
        second.template map<false>(count, [=](int64_t r, int64_t o, int, V v) { store(scores + r * wide + o, v); });
        for (int64_t r = 0; r < count; r++) {
            const int64_t label = first_largest(scores + r * wide, prompts);
            a.label[r0 + r] = label;
            std::copy(a.pool + label * a.width, a.pool + (label + 1) * a.width, a.prompt + (r0 + r) * a.width);
        }
    });
}

// Counting sort: stable, so ties keep the order of the image.
template <class T> void sort_by_label(const RoutingArgs<T> &a) {
    mir::parallel(a.batch, a.threads, [&](int64_t image) {
        const int64_t *label = a.label + image * a.length;
        std::vector<int64_t> place(a.prompts + 1);
        for (int64_t t = 0; t < a.length; t++) place[label[t] + 1]++;
        for (int64_t p = 0; p < a.prompts; p++) place[p + 1] += place[p];
        for (int64_t t = 0; t < a.length; t++) a.order[image * a.length + place[label[t]]++] = t;
    });
}

}  // namespace MIR_ISA
