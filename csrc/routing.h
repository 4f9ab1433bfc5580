// Routing: the likeliest prompt of each token, and the tokens in the order of their prompts.
#pragma once
#include <algorithm>
#include <vector>

#include "args.h"
#include "parallel.h"
#include "simd.h"

namespace MIR_ISA {

using mir::RoutingArgs;

// The first largest of n values.
template <class T> inline int64_t first_largest(const T *x, int64_t n) {
    constexpr int W = Simd<T>::W;
    T top = x[0];
    int64_t i = 0;
    if (n >= W) {
        Vec<T> v = load(x);
        for (i = W; i + W <= n; i += W) v = vmax(v, load(x + i));
        for (int l = 0; l < W; l++) top = std::max(top, T(v[l]));
    }
    for (; i < n; i++) top = std::max(top, x[i]);
    return std::find(x, x + n - 1, top) - x;
}

template <class T> void likeliest(const RoutingArgs<T> &a) {
    constexpr int64_t PART = 1024;
    const int64_t tokens = a.batch * a.length;
    mir::parallel((tokens + PART - 1) / PART, a.threads, [&](int64_t part) {
        for (int64_t t = part * PART; t < std::min(tokens, (part + 1) * PART); t++)
            a.label[t] = first_largest(a.logits + t * a.prompts, a.prompts);
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
