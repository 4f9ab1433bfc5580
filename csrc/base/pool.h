// A pool of threads that stay from call to call, for a process that has no OpenMP pool to borrow.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace mir {

class Pool {
  public:
    Pool() = default;
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;
    ~Pool();

    // Calls work(data) on this thread and meanwhile on up to `threads` - 1 others; returns when all have come back. On
    // this thread alone while the pool serves another call, and on fewer threads where no more can be made. work must
    // not throw.
    void run(void (*work)(void *), void *data, int threads) noexcept;

    const long process = current_process();  // a child that was forked has none of the threads
    static long current_process();

  private:
    void serve();
    void grow(int helpers);

    std::atomic_flag busy = ATOMIC_FLAG_INIT;
    std::vector<std::thread> helpers_;  // changed only while busy
    std::mutex mutex;                   // of what follows
    std::condition_variable wake, idle;
    void (*work_)(void *) = nullptr;
    void *data_ = nullptr;
    int seats = 0, working = 0;  // helpers that may still begin, and those that work
    bool stop = false;
};

// The pool of this process, made when it is first needed; its threads are joined when the library is unloaded.
Pool &own_pool();

}  // namespace mir
