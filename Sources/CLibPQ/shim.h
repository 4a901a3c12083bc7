#ifndef PGCONVOY_CLIBPQ_SHIM_H
#define PGCONVOY_CLIBPQ_SHIM_H

#include <libpq-fe.h>

#endif
