// Runs a CUDA kernel on the CPU, so that the very same .cu can be tested where there is no GPU.
//
// Every thread of a block is a fiber (ucontext) of one operating-system thread.  A fiber runs until it has to wait:
//   __syncthreads()        until all threads of the block that have not returned are there
//   __shfl_*_sync, __syncwarp   until all lanes of the mask are there; each lane leaves its value in a box and reads another's
// Blocks run one after another, so __shared__ is a static variable; it is filled with 0xFF before each block, because a GPU
// promises nothing about its content.  Waiting for threads that have returned, or waiting at different barriers, would hang a
// GPU or be undefined: here it stops the program with a message.
//
// Supported: what the kernels of this folder use.  Not a simulator of speed, of memory spaces, or of races between warps.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static
typedef void* cudaStream_t;
typedef int cudaError_t;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct float4 {
    float x, y, z, w;
};
struct float2 {
    float x, y;
};

namespace shim {

constexpr int WARP = 32;
constexpr size_t STACK = 64 * 1024;
enum Wait { RUNNING, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    dim3 thread;
    Wait wait = RUNNING;
    unsigned mask = 0;
    unsigned long long box = 0;
};

struct Block {
    std::vector<Fiber> fibers;
    ucontext_t scheduler;
    int current = 0;
    dim3 block, grid, size;
    std::function<void()> body;
};

inline Block& running() {
    static Block block;
    return block;
}

inline void stop(const char* why) {
    std::fprintf(stderr, "cpu_shim: %s\n", why);
    std::abort();
}

inline Fiber& self() { return running().fibers[running().current]; }

inline void pause(Wait wait, unsigned mask = 0) {
    Fiber& fiber = self();
    fiber.wait = wait;
    fiber.mask = mask;
    swapcontext(&fiber.context, &running().scheduler);
}

inline void entry() {
    running().body();
    self().wait = DONE;
    swapcontext(&self().context, &running().scheduler);
}

// Lets those go on whose barrier is complete; false when nobody can.
inline bool release() {
    auto& fibers = running().fibers;
    bool all_at_barrier = true, some = false;
    for (auto& fiber : fibers) {
        if (fiber.wait == AT_WARP_BARRIER || fiber.wait == RUNNING) all_at_barrier = false;
        if (fiber.wait == AT_BLOCK_BARRIER) some = true;
    }
    if (all_at_barrier && some) {
        for (auto& fiber : fibers)
            if (fiber.wait == AT_BLOCK_BARRIER) fiber.wait = RUNNING;
        return true;
    }
    bool released = false;
    for (size_t first = 0; first < fibers.size(); first += WARP) {
        unsigned waiting = 0, mask = 0;
        for (size_t lane = 0; lane < WARP && first + lane < fibers.size(); ++lane)
            if (fibers[first + lane].wait == AT_WARP_BARRIER) {
                waiting |= 1u << lane;
                if (mask && mask != fibers[first + lane].mask) stop("lanes of one warp wait with different masks");
                mask = fibers[first + lane].mask;
            }
        if (!waiting) continue;
        for (size_t lane = 0; lane < WARP; ++lane) {
            bool exists = first + lane < fibers.size();
            if (!exists) mask &= ~(1u << lane);
            else if ((mask >> lane & 1) && fibers[first + lane].wait == DONE) stop("a warp waits for a lane that has returned");
        }
        if ((waiting & mask) != mask) continue;
        for (size_t lane = 0; lane < WARP; ++lane)
            if (waiting >> lane & 1) fibers[first + lane].wait = RUNNING;
        released = true;
    }
    return released;
}

// Shared variables of a kernel register here at their first use, to be filled with 0xFF before every block.
struct Region {
    void* start;
    size_t bytes;
};
inline std::vector<Region>& regions() {
    static std::vector<Region> all;
    return all;
}
inline void share(void* start, size_t bytes) {
    for (auto& region : regions())
        if (region.start == start) return;
    regions().push_back({start, bytes});
}

inline void run_block(unsigned n_threads) {
    Block& block = running();
    for (auto& region : regions()) std::memset(region.start, 0xFF, region.bytes);
    block.fibers = std::vector<Fiber>(n_threads);
    for (unsigned i = 0; i < n_threads; ++i) {
        Fiber& fiber = block.fibers[i];
        fiber.stack.resize(STACK);
        fiber.thread = dim3(i);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, entry, 0);
    }
    for (;;) {
        bool ran = false, done = true;
        for (unsigned i = 0; i < n_threads; ++i) {
            if (block.fibers[i].wait == RUNNING) {
                block.current = static_cast<int>(i);
                swapcontext(&block.scheduler, &block.fibers[i].context);
                ran = true;
            }
            if (block.fibers[i].wait != DONE) done = false;
        }
        if (done) return;
        if (!release() && !ran) stop("every thread waits and no barrier is complete");
    }
}

inline void launch(dim3 grid, dim3 size, std::function<void()> body) {
    Block& block = running();
    if (size.y != 1 || size.z != 1) stop("blocks of one dimension only");
    block.grid = grid;
    block.size = size;
    block.body = body;
    for (unsigned y = 0; y < grid.y; ++y)
        for (unsigned x = 0; x < grid.x; ++x) {
            block.block = dim3(x, y);
            run_block(size.x);
        }
}

template <typename T>
T exchange(unsigned mask, T value, int from) {
    static_assert(sizeof(T) <= sizeof(unsigned long long), "shuffled values have at most 8 bytes");
    Fiber& fiber = self();
    fiber.box = 0;
    std::memcpy(&fiber.box, &value, sizeof(T));
    pause(AT_WARP_BARRIER, mask);
    int first = running().current / WARP * WARP;
    T found;
    int lane = from >= 0 && from < WARP && first + from < static_cast<int>(running().fibers.size()) ? from : running().current - first;
    std::memcpy(&found, &running().fibers[first + lane].box, sizeof(T));
    pause(AT_WARP_BARRIER, mask);  // nobody may overwrite its box before all have read
    return found;
}

}  // namespace shim

#define threadIdx (shim::self().thread)
#define blockIdx (shim::running().block)
#define blockDim (shim::running().size)
#define gridDim (shim::running().grid)
#define SHARED_AT(name) shim::share((void*)&name, sizeof(name))

inline void __syncthreads() { shim::pause(shim::AT_BLOCK_BARRIER); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { shim::pause(shim::AT_WARP_BARRIER, mask); }
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
    return shim::exchange(mask, value, lane);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
    return shim::exchange(mask, value, (shim::running().current % shim::WARP) ^ bits);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
    return shim::exchange(mask, value, shim::running().current % shim::WARP + static_cast<int>(by));
}
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline cudaError_t cudaGetLastError() { return 0; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

#define LAUNCH(kernel, grid, block, stream, ...) shim::launch(grid, block, [=] { kernel(__VA_ARGS__); })
