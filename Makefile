# SPDX-License-Identifier: Apache-2.0
# Everything happens in .venv and build/; `make clean` removes build/, `make distclean` both.
PYTHON3   ?= python3
VENV      := .venv
PY        := $(VENV)/bin/python
PIP       := $(PY) -m pip install --quiet --disable-pip-version-check
JOBS      ?= $(shell nproc)
BUILD     := build
WHEELS    := $(BUILD)/dist
STACK     := $(VENV)/.stack
TESTS     := $(VENV)/.tests
LINT      := $(VENV)/.lint
INSTALLED := $(VENV)/.mindspeed
RECORD    := $(BUILD)/operators.json
RECORDING := MINDSPEED_OPERATOR_RECORD=$(RECORD)
OPERATORS := $(PY) tools/gen_operators_doc.py $(RECORD)
# A whole run is spread over workers, a file to each at a time in the order of tests/conftest.py; a part is quicker without.
WORKERS   := -n $(JOBS) --dist loadfile --no-loadscope-reorder
SOURCES   := $(shell find src abi cmake python tools/gen_headers.py -type f -not -name '*.pyc') \
             CMakeLists.txt pyproject.toml LICENSE README.md

.DEFAULT_GOAL := help
.PHONY: help venv build pretrain test test-c test-python fuzz doctor bench wheels lint format docs site clean distclean

help: ## show this text
	@echo 'make TARGET, where TARGET is'
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16
	@echo
	@echo 'variables:  PYTHON3=$(PYTHON3)  JOBS=$(JOBS)'
	@echo 'pretrain:   DATA=files or folders  OUT=dir  ITERS=n  DTYPE=bf16|fp16|fp32  LAYERS=n  ARGS="any other option"'
	@echo '  layout:   NPUS=ranks  TP=n  SP=1  PP=n  VP=n  CP=n  EP=n  EXPERTS=n      see docs/parallelism.md'

$(PY):
	@command -v $(PYTHON3) >/dev/null || { echo "$(PYTHON3) not found: set PYTHON3=" >&2; exit 1; }
	$(PYTHON3) -m venv $(VENV) || { rm -rf $(VENV); echo "on Debian: apt install python3-venv" >&2; exit 1; }

$(STACK): requirements/stack.txt requirements/megatron.txt | $(PY)
	@echo 'installing the frameworks into $(VENV) (once)'
	$(PIP) -r requirements/stack.txt
	$(PIP) --no-deps -r requirements/megatron.txt
	@touch $@

$(TESTS): requirements/test.txt | $(PY)
	$(PIP) -r requirements/test.txt
	@touch $@

$(LINT): requirements/lint.txt | $(PY)
	$(PIP) -r requirements/lint.txt
	@touch $@

# The build folder stays, so a changed file recompiles alone.
$(INSTALLED): $(SOURCES) $(STACK)
	@echo 'building and installing the wheel'
	@rm -rf $(WHEELS)
	CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps -w $(WHEELS) .
	$(PIP) --no-deps --force-reinstall $(WHEELS)/mindspeed-*.whl
	@touch $@

venv: $(INSTALLED) ## create .venv with the frameworks and the built wheel
build: $(INSTALLED) ## the same

LAYOUT  = $(foreach axis,NPUS TP PP VP CP EP EXPERTS,$(if $($(axis)),--$(shell echo $(axis) | tr A-Z a-z) $($(axis)))) \
          $(if $(SP),--sp)

pretrain: $(INSTALLED) ## train a Megatron GPT on virtual NPUs, sample from it; again: resume
	$(PY) examples/pretrain_gpt/pretrain.py $(if $(DATA),--data $(DATA)) $(if $(OUT),--out $(OUT)) \
	    $(if $(ITERS),--iters $(ITERS)) $(if $(DTYPE),--dtype $(DTYPE)) $(if $(LAYERS),--layers $(LAYERS)) $(LAYOUT) $(ARGS)

test: test-c test-python ## C tests and Python tests; SLOW=1: also those marked slow

# One more than there are cores: half of the time ranks wait for each other, or for a link to be found cut.
test-c: $(TESTS) ## C tests
	@PATH=$(CURDIR)/$(VENV)/bin:$$PATH && cmake -S . -B $(BUILD)/c -G Ninja -DPython3_EXECUTABLE=$(CURDIR)/$(PY) >/dev/null \
	    && cmake --build $(BUILD)/c -j $(JOBS) && ctest --test-dir $(BUILD)/c --output-on-failure -j $$(($(JOBS) + 1)) $(CTEST)

# A whole run also records what the operator tests computed, and compares docs/operators.md with it.
test-python: $(INSTALLED) $(TESTS) ## Python tests against the installed wheel; ARGS="a part of them"
	@rm -f $(RECORD:.json=)*.json
	$(if $(ARGS),,$(RECORDING)) $(PY) -m pytest -q $(or $(ARGS),$(WORKERS) $(if $(SLOW),,-m 'not slow'))
	$(if $(ARGS),,$(OPERATORS) --check)

# A slow job: an hour for a million cases where two cores are free.
CASES ?= 250000
SEED  ?= 0
FUZZ  := $(addprefix fuzz_test_fuzz_,$(addsuffix _c,attention matmul experts quant))
fuzz: $(TESTS) ## random calls of operators under ASan and UBSan, CASES=250000 of each of four families from SEED=0 on
	@PATH=$(CURDIR)/$(VENV)/bin:$$PATH && cmake -S . -B $(BUILD)/fuzz -G Ninja -DHC_SANITIZE=address,undefined \
	    -DPython3_EXECUTABLE=$(CURDIR)/$(PY) >/dev/null && cmake --build $(BUILD)/fuzz -j $(JOBS) --target $(FUZZ)
	@printf '%s\n' $(FUZZ) | FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) xargs -P $(JOBS) -I{} $(BUILD)/fuzz/tests/{}

wheels: $(PY) ## wheels for other machines, x86-64 and aarch64, in build/wheelhouse
	@$(PIP) -r requirements/wheels.txt
	$(PY) tools/build_wheels.py $(ARGS)

doctor: $(INSTALLED) ## check the installation
	$(VENV)/bin/mindspeed doctor

bench: $(INSTALLED) $(TESTS) ## benchmarks next to PyTorch CPU
	@for file in bench/gpt_step.py bench/ops/*.py bench/python/*.py; do echo "== $$file"; $(PY) $$file || exit 1; done

lint: $(LINT) ## formatting, types, budgets of the style guide
	$(PY) tools/lint.py

format: $(LINT) ## format the whole tree
	$(PY) tools/lint.py --fix

docs: $(INSTALLED) $(TESTS) ## regenerate the generated documents (runs the operator tests)
	$(PY) tools/gen_options_doc.py
	$(PY) tools/gen_features_doc.py
	@rm -f $(RECORD:.json=)*.json
	$(RECORDING) $(PY) -m pytest -q $(WORKERS) tests/ops
	$(OPERATORS)

site: $(PY) ## the documentation as a site, in build/site
	@$(PIP) -r requirements/docs.txt
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build

clean: ## remove build/
	rm -rf $(BUILD)

distclean: clean ## remove .venv as well
	rm -rf $(VENV)
