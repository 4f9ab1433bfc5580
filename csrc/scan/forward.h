// The selective scan: one pass over the tokens, shared out to threads by channels, pieces or segments.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "abi/structs.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "scan/block.h"

namespace MIR_ISA {

constexpr int64_t PIECES = 8;

// The turn of a piece comes when the piece before it is done. It ends in any case: where a piece throws, the next one,
// if a thread has taken it already, must not wait forever.
struct Turn {
    std::atomic<int64_t> &done;
    const int64_t piece;
    void wait() const {
        while (done.load(std::memory_order_acquire) < piece) std::this_thread::yield();
    }
    ~Turn() {
        wait();
        done.store(piece + 1, std::memory_order_release);
    }
};

template <class T, int NS> void scan_forward_states(const ScanArgs<T> &a) {
    constexpr int W = Simd<T>::W;
    const int64_t blocks = (a.channels + W - 1) / W, n = a.n, chunks = (a.length + SCAN_CHUNK - 1) / SCAN_CHUNK;
    const int64_t together = std::clamp<int64_t>(a.threads > 1 ? a.batch * blocks / (2 * a.threads) : blocks, 1,
                                                 std::max<int64_t>(blocks, 1));
    const int64_t groups = (blocks + together - 1) / together, tasks = a.batch * groups;
    auto group = [&](int64_t task) {
        const int64_t first = task % groups * together;
        return ScanGroup<T, NS>(a, task / groups, first, std::min(first + together, blocks));
    };
    // More threads than groups: cut the tokens into segments, find how each would end from zero, then run
    // them all from their true starts. Segments are whole chunks.
    int64_t segments = 1;
    if (a.threads >= 2 * tasks && tasks > 0)
        segments = std::min(2 * a.threads / tasks, std::max<int64_t>(1, chunks / 4));
    if (segments <= 1) {
        // Groups that the threads do not divide evenly are cut into pieces, each waiting for the one before it, which
        // some thread has taken by then.
        const int64_t pieces = a.threads > 1 && tasks % a.threads ? std::clamp<int64_t>(chunks, 1, PIECES) : 1;
        Buffer<Vec<T>> states(tasks * together * n, Vec<T>{});
        std::vector<std::atomic<int64_t>> done(tasks);
        mir::parallel(tasks * pieces, a.threads, [&](int64_t i) {
            const int64_t task = i % tasks, piece = i / tasks;
            auto from = [&](int64_t p) { return std::min(chunks * p / pieces * SCAN_CHUNK, a.length); };
            const Turn turn{done[task], piece};
            ScanGroup<T, NS> some = group(task);
            turn.wait();
            Vec<T> *h = &states[task * together * n];
            some.template run<true>(from(piece), from(piece + 1), h, nullptr);
            for (int64_t k = 0; piece == pieces - 1 && k < some.size(); k++) some.blocks[k].finish(h + k * n);
        });
        return;
    }
    const int64_t per = (chunks + segments - 1) / segments * SCAN_CHUNK;
    auto from = [&](int64_t segment) { return std::min(segment * per, a.length); };
    const int64_t row = together * (n + 1);  // end states and summed steps of one segment
    Buffer<Vec<T>> ends(tasks * segments * row, Vec<T>{});
    mir::parallel(tasks * (segments - 1), a.threads, [&](int64_t i) {
        const int64_t task = i / (segments - 1), segment = i % (segments - 1);
        Vec<T> *end = &ends[(task * segments + segment) * row];
        group(task).template run<false>(from(segment), from(segment + 1), end, end + together * n);
    });
    mir::parallel(tasks * segments, a.threads, [&](int64_t i) {
        const int64_t task = i / segments, segment = i % segments;
        ScanGroup<T, NS> some = group(task);
        Buffer<Vec<T>> h(together * n, Vec<T>{});
        for (int64_t before = 0; before < segment; before++) {
            const Vec<T> *end = &ends[(task * segments + before) * row];
            for (int64_t k = 0; k < some.size(); k++)
                for (int64_t s = 0; s < n; s++)
                    h[k * n + s] = exp2v(end[together * n + k] * some.blocks[k].A2[s]) * h[k * n + s] + end[k * n + s];
        }
        some.template run<true>(from(segment), from(segment + 1), h.data(), nullptr);
        for (int64_t k = 0; segment == segments - 1 && k < some.size(); k++) some.blocks[k].finish(&h[k * n]);
    });
}

template <class T> void scan_forward(const ScanArgs<T> &a) {
    if (a.n == 8)
        scan_forward_states<T, 8>(a);
    else if (a.n == 16)
        scan_forward_states<T, 16>(a);
    else
        scan_forward_states<T, 0>(a);
}

}  // namespace MIR_ISA
