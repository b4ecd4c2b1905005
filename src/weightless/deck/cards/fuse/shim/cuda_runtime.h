// Stands for the toolkit's header when a solution.cu is compiled for the CPU: the shim, and what sources like to use besides.
#pragma once
#include <cfloat>
#include <climits>
#include <cstdint>

#include "cpu_shim.h"

#define warpSize 32
#define cudaSuccess 0
#define __align__(n) alignas(n)
#define __ldg(pointer) (*(pointer))
#define __expf(x) std::exp(x)
#define __logf(x) std::log(x)

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
    return shim::exchange(mask, value, shim::running().current % shim::WARP - static_cast<int>(by));
}
inline cudaError_t cudaDeviceSynchronize() { return 0; }
inline cudaError_t cudaPeekAtLastError() { return 0; }
inline int __float_as_int(float x) {
    int bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __int_as_float(int bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
