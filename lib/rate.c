#include "rate.h"
