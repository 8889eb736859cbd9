# hnsw_mmap: build with PGXS.
#
#   make && make install        against the pg_config on PATH
#   make PG_CONFIG=/path/to/pg_config
#   make installcheck           regression tests against a running server
#   make unit                   unit tests, no server needed
#   script/test                 everything, in a throwaway cluster

EXTENSION = hnsw_mmap hnsw_mmap_pgvector
MODULE_big = hnsw_mmap
EXTVERSION = 0.1.0

DATA = $(wildcard install/hnsw_mmap--*.sql install/hnsw_mmap_pgvector--*.sql)

SOURCES = $(sort $(wildcard src/*/*.c))
OBJS = $(SOURCES:.c=.o)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=hnsw_mmap

# The baseline of the architecture: kernels for wider instruction sets carry
# target attributes and are chosen at run time.
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare
SHLIB_LINK = -lm

EXTRA_CLEAN = test/unit/build

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Any header may change the layout of a struct shared between files; the
# library is small enough to be rebuilt whole.
HEADERS_ALL := $(wildcard src/*.h src/*/*.h)
$(OBJS): $(HEADERS_ALL)

# Loops over the components of a vector that no kernel covers.
src/graph/codes.o src/index/element.o: CFLAGS += $(CFLAGS_VECTORIZE)

.PHONY: unit
unit:
	$(MAKE) -C test/unit check
