#pragma once

#include <vector>

#include "penstock/decision/admission.h"

namespace penstock::decision {

inline std::vector<Verdict> all(const Verdicts& decided) { return {decided.begin(), decided.end()}; }

}  // namespace penstock::decision
