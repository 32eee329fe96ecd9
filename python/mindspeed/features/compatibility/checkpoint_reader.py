# SPDX-License-Identifier: Apache-2.0
"""Loading a checkpoint runs no code from its files.

Megatron and torch.distributed.checkpoint unpickle what they find in the folder: the common state, objects of ranks, the
file .metadata, and cached indices of datasets. Whoever can write a checkpoint that somebody loads would run code there.
Each of these places reads data only here (_pickles.py); names of files that lead out of the folder are refused.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.features.compatibility._pickles import load_data, load_metadata


def _check_places(metadata: Any, where: str) -> None:
    """Files of a checkpoint lie in its folder."""
    for place in (metadata.storage_data or {}).values():
        path = PurePath(place.relative_path)
        if path.is_absolute() or ".." in path.parts:
            raise pickle.UnpicklingError(
                f"{where} refers to {str(path)!r}, which leads out of the folder of the checkpoint"
            )


def read_metadata(self: Any, *_: Any, **options: Any) -> Any:
    """FileSystemReader.read_metadata without its pickle.load."""
    from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

    path = self._get_metadata_path(options.get("rank"))
    with self.fs.create_stream(path, "rb") as file:
        metadata = load_metadata(file, str(path))
    if not isinstance(metadata, Metadata):
        raise pickle.UnpicklingError(
            f"{path} holds {type(metadata).__name__}, wanted the metadata of a checkpoint"
        )
    _check_places(metadata, str(path))
    if getattr(metadata, "storage_meta", None) is None:
        metadata.storage_meta = StorageMeta()
    metadata.storage_meta.load_id = self.load_id
    return metadata


def load_bytes(self: Any, read_item: Any, value: io.BytesIO) -> None:
    """DefaultLoadPlanner.load_bytes without its torch.load of anything."""
    from torch.distributed.checkpoint._nested_dict import set_element

    name = read_item.dest_index.fqn
    data = load_data(value, f"the object {name!r} of the checkpoint")
    if self.flatten_state_dict:
        set_element(self.original_state_dict, self.mappings[name], data)
    else:
        self.state_dict[name] = data


def load_common(checkpoint_dir: Any) -> Any:
    """Of Megatron: state that all ranks share."""
    from megatron.core.dist_checkpointing.mapping import CheckpointingException
    from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME

    path = Path(checkpoint_dir) / COMMON_STATE_FNAME
    if not path.exists():
        raise CheckpointingException(f"Common file {path} does not exist")
    return load_data(path, str(path), map_location="cpu")


def load_common_method(self: Any, checkpoint_dir: Any) -> Any:
    """As a method, as it was before Megatron 0.17."""
    return load_common(checkpoint_dir)


def load_sharded_objects(self: Any, sharded_objects_state_dict: Any, checkpoint_dir: Any) -> Any:
    """Of Megatron: objects in files of their own; earlier releases cut the name at its last dot."""
    from megatron.core.dist_checkpointing.dict_utils import dict_list_map_inplace
    from megatron.core.dist_checkpointing.mapping import CheckpointingException

    def load(sharded: Any) -> Any:
        sharded.data = None
        path = Path(checkpoint_dir) / f"{sharded.unique_key}.pt"
        older = (Path(checkpoint_dir) / sharded.unique_key).with_suffix(".pt")
        for candidate in (path, older):
            if candidate.exists():
                return load_data(candidate, str(candidate))
        raise CheckpointingException(f"Object shard {path} not found")

    return dict_list_map_inplace(load, sharded_objects_state_dict)


def _check_index(path: Path) -> None:
    import numpy

    try:
        numpy.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise pickle.UnpicklingError(
            f"{path} is no array of numbers ({error}); remove it: it is made again"
        ) from None


def _check_indices(dataset: Any) -> None:
    """Cached indices of a dataset are arrays of numbers; Megatron would unpickle whatever else they are."""
    folder = dataset.config.path_to_cache
    if not folder and hasattr(getattr(dataset, "dataset", None), "path_prefix"):
        folder = Path(dataset.dataset.path_prefix) / "cache" / f"{type(dataset).__name__}_indices"
    if folder:
        for path in sorted(Path(folder).glob(f"{dataset.unique_description_hash}-*.npy")):
            _check_index(path)


def with_indices_checked(build: Callable[..., Any]) -> Callable[..., Any]:
    """For the functions that make the indices, or load them."""

    @functools.wraps(build)
    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        _check_indices(self)
        return build(self, *arguments, **options)

    return checked


def with_late_indices_checked(index: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For the functions of samples, which load the indices at first use if the config puts that off."""

    def wrap(sample: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(sample)
        def checked(self: Any, *arguments: Any, **options: Any) -> Any:
            if getattr(self, index) is None:
                _check_indices(self)
            return sample(self, *arguments, **options)

        return checked

    return wrap


_DATASETS = "megatron.core.datasets"
_COMMON = "megatron.core.dist_checkpointing.strategies.common"
_OLD_COMMON = f"{_COMMON}:TorchCommonLoadStrategy"

FEATURE = Feature(
    name="checkpoint-reader",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("torch.distributed.checkpoint.filesystem:FileSystemReader.read_metadata", read_metadata),
        Patch("torch.distributed.checkpoint.default_planner:DefaultLoadPlanner.load_bytes", load_bytes),
        Patch(f"{_OLD_COMMON}.load_common", load_common_method, until="0.17.0"),
        Patch(f"{_OLD_COMMON}.load_sharded_objects", load_sharded_objects, until="0.17.0"),
        Patch(f"{_COMMON}:load_common", load_common, since="0.17.0"),
        Patch(
            f"{_DATASETS}.gpt_dataset:GPTDataset._build_document_sample_shuffle_indices",
            with_indices_checked,
            wraps=True,
        ),
        Patch(
            f"{_DATASETS}.gpt_dataset:GPTDataset._query_document_sample_shuffle_indices",
            with_late_indices_checked("shuffle_index"),
            wraps=True,
            since="0.16.0",
        ),
        Patch(f"{_DATASETS}.blended_dataset:BlendedDataset._build_indices", with_indices_checked, wraps=True),
        Patch(
            f"{_DATASETS}.blended_dataset:BlendedDataset.__getitem__",
            with_late_indices_checked("dataset_index"),
            wraps=True,
            since="0.16.0",
        ),
        Patch(
            f"{_DATASETS}.masked_dataset:MaskedWordPieceDataset._build_sample_index",
            with_indices_checked,
            wraps=True,
        ),
    ),
)
