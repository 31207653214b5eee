#include "policy/units.h"
