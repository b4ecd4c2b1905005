// Layer-norm backward, fused: dy and xhat are read once, dx is written once.  Twin and oracle: weightless/ops/layer_norm.py.
//
//   dyhat = dy gamma;  dx = r (dyhat - mean(dyhat) - xhat mean(dyhat xhat));  dgamma = sum dy xhat;  dbeta = sum dy
//
// Traffic: 12 bytes per element (read dy, read xhat, write dx) and 8 D bytes of partial sums per block; done apart, the sums over
// D, over rows and the result would read dy and xhat three times each.  Memory-bound: about 10 FLOPs per 12 bytes.
//
// Kernel 1: a block takes every gridDim-th row.  A thread owns the columns threadIdx + j * THREADS: it holds their dy and xhat of the
// current row in registers between the two means and the result, and their dgamma, dbeta over all rows of the block.  The two
// means are reduced together: shuffles in a warp, one exchange through shared memory, two barriers per row.
// Kernel 2: one thread per column adds up the blocks' parts in a fixed order, so that equal inputs give equal bits.
#ifdef CPU_SHIM
#include "cpu_shim.h"
#else
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#define SHARED_AT(name)
#endif

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr unsigned ALL = 0xFFFFFFFFu;

// COLUMNS: how many columns a thread owns at most.
template <int COLUMNS>
__global__ void __launch_bounds__(THREADS)
    layer_norm_backward_kernel(const float* __restrict__ dy, const float* __restrict__ xhat, const float* __restrict__ r,
                               const float* __restrict__ gamma, int N, int D, float* __restrict__ dx, float* __restrict__ parts) {
    __shared__ float warp_a[WARPS], warp_b[WARPS];
    if (threadIdx.x == 0 && blockIdx.x == 0) {
        SHARED_AT(warp_a);
        SHARED_AT(warp_b);
    }
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    float g[COLUMNS], dgamma[COLUMNS], dbeta[COLUMNS];
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) {
        int column = thread + j * THREADS;
        g[j] = column < D ? gamma[column] : 0.0f;
        dgamma[j] = dbeta[j] = 0.0f;
    }
    for (int row = blockIdx.x; row < N; row += gridDim.x) {
        const long long base = static_cast<long long>(row) * D;
        float d[COLUMNS], h[COLUMNS], a = 0.0f, b = 0.0f;
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            int column = thread + j * THREADS;
            d[j] = column < D ? dy[base + column] : 0.0f;
            h[j] = column < D ? xhat[base + column] : 0.0f;
            float dh = d[j] * g[j];
            a += dh;
            b += dh * h[j];
            dgamma[j] += d[j] * h[j];
            dbeta[j] += d[j];
        }
#pragma unroll
        for (int bits = 16; bits > 0; bits >>= 1) {
            a += __shfl_xor_sync(ALL, a, bits);
            b += __shfl_xor_sync(ALL, b, bits);
        }
        if (lane == 0) {
            warp_a[warp] = a;
            warp_b[warp] = b;
        }
        __syncthreads();
        a = b = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            a += warp_a[w];
            b += warp_b[w];
        }
        a /= D;
        b /= D;
        const float scale = r[row];
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            int column = thread + j * THREADS;
            if (column < D) dx[base + column] = scale * (d[j] * g[j] - a - h[j] * b);
        }
        __syncthreads();  // the next row writes warp_a and warp_b
    }
    float* part = parts + 2ll * blockIdx.x * D;
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) {
        int column = thread + j * THREADS;
        if (column < D) {
            part[column] = dgamma[j];
            part[D + column] = dbeta[j];
        }
    }
}

__global__ void add_parts_kernel(const float* __restrict__ parts, int n_parts, int D, float* __restrict__ dgamma, float* __restrict__ dbeta) {
    int column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= D) return;
    float a = 0.0f, b = 0.0f;
    for (int p = 0; p < n_parts; ++p) {
        a += parts[2ll * p * D + column];
        b += parts[(2ll * p + 1) * D + column];
    }
    dgamma[column] = a;
    dbeta[column] = b;
}

// dy, xhat, dx: N x D; r: N; gamma, dgamma, dbeta: D; parts: scratch of n_blocks x 2 x D; all contiguous float32 on the device.
// Returns 0, a CUDA error, or -1 for sizes that no kernel serves (D up to 4,096).
extern "C" int layer_norm_backward_launch(const float* dy, const float* xhat, const float* r, const float* gamma, int N, int D, int n_blocks,
                                          float* dx, float* parts, float* dgamma, float* dbeta, cudaStream_t stream) {
    if (N < 1 || D < 1 || D > 16 * THREADS || n_blocks < 1) return -1;
    dim3 grid(n_blocks), block(THREADS), columns((D + THREADS - 1) / THREADS);
    if (D <= THREADS) LAUNCH(layer_norm_backward_kernel<1>, grid, block, stream, dy, xhat, r, gamma, N, D, dx, parts);
    else if (D <= 4 * THREADS) LAUNCH(layer_norm_backward_kernel<4>, grid, block, stream, dy, xhat, r, gamma, N, D, dx, parts);
    else LAUNCH(layer_norm_backward_kernel<16>, grid, block, stream, dy, xhat, r, gamma, N, D, dx, parts);
    LAUNCH(add_parts_kernel, columns, block, stream, parts, n_blocks, D, dgamma, dbeta);
    return static_cast<int>(cudaGetLastError());
}
