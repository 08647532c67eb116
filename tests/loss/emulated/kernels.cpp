#include "loss/device.cuh"

#include "loss/cross_entropy.cu"

#include "loss/scale.cu"
