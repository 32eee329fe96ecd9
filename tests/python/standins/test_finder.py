# SPDX-License-Identifier: Apache-2.0
"""Who is imported: the real package, or the stand-in; what importlib.metadata and PyTorch believe."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import textwrap
from importlib.machinery import PathFinder

import pytest
from mindspeed.standins import versions
from mindspeed.standins.finder import STAND_INS
from mindspeed.standins.refusal import RefusedError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """write({path: text}): files that win over site-packages."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    return write


def installed():
    """Real packages of this machine: these win."""
    return {name for name in STAND_INS if PathFinder.find_spec(name) is not None}


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_every_standin_can_be_imported_and_goes_with_the_finder(standins, name, capsys):
    if name in installed():
        pytest.skip(f"the real {name} is installed")
    module = importlib.import_module(name)
    assert "mindspeed" in module.__file__ and module.__doc__.startswith("MindSpeed's stand-in")
    assert capsys.readouterr().err == ""
    standins.remove()
    assert not [n for n in sys.modules if n.partition(".")[0] == name]
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
        importlib.import_module(name)


def test_distributions_have_the_version_of_the_module(standins):
    for standin in STAND_INS.values():
        if standin.distribution and standin.name not in installed():
            version = importlib.metadata.version(standin.distribution.replace("_", "-"))
            assert version == importlib.import_module(standin.name).__version__
    standins.remove()
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("transformer-engine")


@pytest.mark.parametrize(
    ("megatron", "wanted"),
    [("0.12.1", "2.2.0"), ("0.14.0rc1", "2.4.0"), ("0.16.1", "2.8.0"), (None, "2.2.0")],
)
def test_transformer_engine_follows_megatron(monkeypatch, megatron, wanted):
    monkeypatch.setattr(versions, "installed_version", lambda name: megatron)
    assert versions.reported_version("transformer_engine") == wanted


def test_a_real_package_wins(standins, package, capsys):
    package({"flash_attn/__init__.py": "__version__ = '9.9'\nREAL = True"})
    module = importlib.import_module("flash_attn")
    assert module.REAL and module.__spec__.loader is module.__loader__
    assert list(importlib.metadata.distributions(name="flash_attn")) == []
    assert capsys.readouterr().err == ""
    standins.remove()
    assert sys.modules["flash_attn"] is module


def test_a_package_that_cannot_be_imported_is_replaced_and_that_is_said(standins, package, capsys):
    package({"flash_attn/__init__.py": "LEFT = 1\nimport flash_attn.part\nraise OSError('no libcuda.so.1')",
             "flash_attn/part.py": ""})  # fmt: skip
    module = importlib.import_module("flash_attn")
    assert callable(module.flash_attn_func) and not hasattr(module, "LEFT")
    assert "flash_attn.part" not in sys.modules
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "installed flash_attn cannot be imported (OSError: no libcuda.so.1)" in said and "stand-in" in said
    standins.remove()
    assert "flash_attn" not in sys.modules


def test_a_package_that_hides_the_failure_of_its_main_part_is_replaced(standins, package, capsys):
    package({"transformer_engine/__init__.py": """
                try:
                    from . import pytorch
                except ImportError:
                    pass
             """, "transformer_engine/pytorch.py": "raise ImportError('undefined symbol: cublasLt')"})  # fmt: skip
    module = importlib.import_module("transformer_engine")
    assert module.pytorch.Linear.__module__ == "transformer_engine.pytorch.module.linear"
    assert "undefined symbol: cublasLt" in capsys.readouterr().err


def test_an_installed_distribution_of_the_same_name_does_not_hide_the_standins(standins, package):
    package({"apex/__init__.py": "raise ImportError('x')",
             "apex-7.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: apex\nVersion: 7.0\n"})  # fmt: skip
    importlib.import_module("apex")
    assert importlib.metadata.version("apex") == "0.1"


def test_a_folder_without_init_is_no_package(standins, package):
    package({"apex/notes.txt": ""})
    assert importlib.import_module("apex").optimizers.FusedAdam


def test_a_missing_name_says_whose_it_is(standins):
    te = importlib.import_module("transformer_engine.pytorch")
    with pytest.raises(
        AttributeError, match=r"transformer_engine\.pytorch\.Nothing is not in MindSpeed's stand-in"
    ):
        _ = te.Nothing
    with pytest.raises(ImportError, match=r"Nothing is not in MindSpeed's stand-in .*docs/standins\.md"):
        exec("from transformer_engine.pytorch import Nothing")
    with pytest.raises(ModuleNotFoundError, match=r"transformer_engine\.jax is not in MindSpeed's stand-in"):
        importlib.import_module("transformer_engine.jax")
    assert not hasattr(te, "Nothing")


def test_torch_knows_that_it_has_no_triton(no_triton, standins):
    from torch.utils._triton import has_triton, has_triton_package

    importlib.import_module("triton")
    compat = importlib.import_module("torch._inductor.runtime.triton_compat")
    assert not has_triton_package() and not has_triton() and not compat.HAS_TRITON


def test_torch_does_not_find_triton_itself(no_triton, standins):
    """Code of torch that imports it later, before anyone else has."""
    code = "try:\n    import triton\n    found = True\nexcept ImportError:\n    found = False"
    for importer, finds in (("torch._inductor.somewhere", False), ("megatron.core.fusions", True)):
        namespace = {"__name__": importer}
        exec(code, namespace)
        assert namespace["found"] is finds


def test_kernels_can_be_defined_and_not_called(no_triton, standins):
    triton = importlib.import_module("triton")
    tl = importlib.import_module("triton.language")

    @triton.autotune(configs=[triton.Config({"BLOCK": 64}, num_warps=2)], key=["n"])
    @triton.jit
    def add(x, n, BLOCK: tl.constexpr, kind: tl.int32 = 1):
        pid = tl.program_id(0)
        return tl.load(x + pid)

    with pytest.raises(
        RefusedError, match=r"the Triton kernel .*add is not in MindSpeed's stand-in.*switch off"
    ):
        add[(1,)](None, 4)
    assert triton.cdiv(7, 2) == 4 and triton.next_power_of_2(5) == 8


def test_low_precision_is_refused_and_its_absence_is_not(standins):
    te = importlib.import_module("transformer_engine.pytorch")
    with te.fp8_autocast(enabled=False), te.fp8_model_init(enabled=False):
        pass
    recipe = importlib.import_module("transformer_engine.common.recipe")
    with (
        pytest.raises(RefusedError, match=r"fp8_model_init with Format.HIF8.*--fp8-param-gather"),
        te.fp8_model_init(recipe=recipe.Float8CurrentScaling(recipe.Format.HIF8)),
    ):
        pass
    assert te.fp8.check_fp8_support()[0] is True and te.fp8.check_nvfp4_support()[0] is False
    te.tensor.utils.cast_master_weights_to_fp8([], [], [], None)
    with pytest.raises(RefusedError, match=r"Float8Tensor.to_float8 is not in.*inside of fp8_model_init"):
        te.float8_tensor.Float8Tensor.to_float8(None)
    fp8_dtype = importlib.import_module("transformer_engine_torch").DType.kFloat8E4M3
    with pytest.raises(RefusedError, match=r"Float8Quantizer is not in.*inside of fp8_model_init"):
        te.tensor.float8_tensor.Float8Quantizer(None, None, fp8_dtype=fp8_dtype)
