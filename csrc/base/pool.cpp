#include "base/pool.h"

#include <new>
#include <system_error>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace mir {

long Pool::current_process() {
#if defined(__unix__) || defined(__APPLE__)
    return static_cast<long>(getpid());
#else
    return 0;
#endif
}

Pool::~Pool() {
    {
        std::lock_guard<std::mutex> lock(mutex);
        stop = true;
    }
    wake.notify_all();
    for (auto &helper : helpers_) helper.join();
}

void Pool::run(void (*work)(void *), void *data, int threads) noexcept {
    if (busy.test_and_set(std::memory_order_acquire)) return work(data);
    grow(threads - 1);
    {
        std::lock_guard<std::mutex> lock(mutex);
        work_ = work, data_ = data, seats = threads - 1;
    }
    wake.notify_all();
    work(data);
    {
        std::unique_lock<std::mutex> lock(mutex);
        seats = 0;  // who has not begun yet need not come
        idle.wait(lock, [this] { return working == 0; });
    }
    busy.clear(std::memory_order_release);
}

void Pool::serve() {
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
        wake.wait(lock, [this] { return stop || seats > 0; });
        if (stop) return;
        seats--, working++;
        const auto work = work_;
        void *const data = data_;
        lock.unlock();
        work(data);
        lock.lock();
        if (--working == 0) idle.notify_one();
    }
}

void Pool::grow(int helpers) {
    try {
        helpers_.reserve(helpers);
        while (static_cast<int>(helpers_.size()) < helpers) helpers_.emplace_back([this] { serve(); });
    } catch (const std::bad_alloc &) {
    } catch (const std::system_error &) {
    }
}

namespace {

std::atomic<Pool *> pool{nullptr};

#if !defined(_WIN32)  // there, threads have ended before a library is unloaded, and waiting for one could last forever
struct AtUnload {
    ~AtUnload() {
        Pool *last = pool.exchange(nullptr);
        if (last && last->process == Pool::current_process()) delete last;
    }
} at_unload;
#endif

}  // namespace

Pool &own_pool() {
    Pool *found = pool.load(std::memory_order_acquire);
    if (found && found->process == Pool::current_process()) return *found;
    Pool *made = new Pool;  // after a fork the old one is left as it is: its threads and locks are those of the parent
    if (pool.compare_exchange_strong(found, made)) return *made;
    delete made;
    return *found;
}

}  // namespace mir
