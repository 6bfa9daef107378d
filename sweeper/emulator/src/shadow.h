// What the two halves of the operators share.
#pragma once
#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>

#include <string>
#include <vector>

namespace emulator {

using Arguments = std::vector<c10::IValue>;
using Results = torch::jit::Stack;

// Operators that exist for CUDA only, in terms of those that the CPU has (translations.cpp). The
// arguments lie on the CPU; results may be fewer than the operator has, from the first on.
using Translation = void (*)(const Arguments&, Results&);
Translation translation_of(const std::string& name);  // nullptr: there is none

}  // namespace emulator
