#include "ration.h"
