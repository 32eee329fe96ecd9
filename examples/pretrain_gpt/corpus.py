# SPDX-License-Identifier: Apache-2.0
"""Turn text files into Megatron's indexed datasets: <out>/data/{train,valid}.{bin,idx}.

A file is a document. Files are held out as a whole where there are enough of them; otherwise the text is cut into
pieces at line ends and pieces are held out. The choice depends on names only, so it is the same in every run.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from errors import UserError
from files import check_folder, kind_of, new_folder, read_about
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
from vocabulary import END_OF_DOCUMENT

MIN_FILES_TO_HOLD_OUT_WHOLE = 20
PIECE_BYTES = 16 << 10
# Of the folder that is made, and what is known of it.
FILES = ("train.bin", "train.idx", "valid.bin", "valid.idx")
COUNTS = ("files", "not_text", "train_bytes", "valid_bytes")
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "__pycache__"}


def standard_library() -> list[Path]:
    """Python sources of the running interpreter's standard library, its tests left out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [
        path for path in root.rglob("*.py") if not _NOT_LIBRARY.intersection(path.relative_to(root).parts)
    ]
    if not files:
        raise UserError(
            f"no Python sources of the standard library below {root}; name text files with --data"
        )
    return sorted(files)


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise UserError(f"--data {path}: no such file or folder")
    if not path.is_dir():
        raise UserError(f"--data {path}: is {kind_of(path)}, wanted a file or folder")
    files = sorted(
        p
        for p in path.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )
    if not files:
        raise UserError(f"--data {path}: the folder has no files")
    return files


def find_files(data: Sequence[Path]) -> list[Path]:
    if not data:
        return standard_library()
    return [file for path in data for file in _files_of(path)]


def _read_text(path: Path, named: bool) -> bytes | None:
    """UTF-8 text of a file; None for a file of a folder that is not text. A file that was named must be text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"--data {path}: cannot be read: {error.strerror}") from None
    try:
        data.decode("utf-8")
        is_text = b"\0" not in data
    except UnicodeDecodeError:
        is_text = False
    if not is_text and named:
        raise UserError(f"--data {path}: not a text file (UTF-8 without NUL bytes is wanted)")
    return data if is_text else None


def _pieces(text: bytes) -> Iterable[bytes]:
    start = 0
    while start < len(text):
        end = min(start + PIECE_BYTES, len(text))
        newline = text.rfind(b"\n", start, end)
        if end < len(text) and newline > start:
            end = newline + 1
        yield text[start:end]
        start = end


def _check_size(data: Sequence[Path], files: Sequence[Path]) -> None:
    """The text is held in memory, once as it is and once as tokens of two bytes."""
    largest = max(files, key=lambda path: path.stat().st_size)
    wanted = 3 * sum(path.stat().st_size for path in files)
    free = psutil.virtual_memory().available
    if wanted > free:
        raise UserError(
            f"--data {' '.join(map(str, data))}: {wanted // 3 / 1e9:.1f} GB of text ({largest} alone has "
            f"{largest.stat().st_size / 1e9:.1f}), which take {wanted / 1e9:.1f} GB of memory, and {free / 1e9:.1f} are free; "
            "name less"
        )


def _load(data: Sequence[Path], files: Sequence[Path]) -> tuple[dict[str, bytes], int]:
    """Documents by name, and the number of files that were no text."""
    _check_size(data, files)
    named = set(data)
    texts = {str(path): _read_text(path, path in named) for path in files}
    documents = {name: text for name, text in texts.items() if text}
    if not documents:
        raise UserError(
            f"--data {' '.join(map(str, data))}: no text in {len(files)} files (all empty or binary)"
        )
    skipped = sum(text is None for text in texts.values())
    if len(documents) < MIN_FILES_TO_HOLD_OUT_WHOLE:
        documents = {
            f"{name}#{i}": piece for name, text in documents.items() for i, piece in enumerate(_pieces(text))
        }
    return documents, skipped


def _position(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", errors="surrogateescape")).digest()


def split(documents: dict[str, bytes], held_out: float) -> tuple[list[bytes], list[bytes]]:
    """(training, validation): documents in an order made from their names, the first ones held out."""
    order = sorted(documents, key=_position)
    wanted = held_out * sum(map(len, documents.values()))
    count, size = 0, 0
    while size < wanted and count < len(order) - 1:
        size += len(documents[order[count]])
        count += 1
    return [documents[name] for name in order[count:]], [documents[name] for name in order[:count]]


def _write(prefix: Path, documents: Sequence[bytes]) -> None:
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
    for text in documents:
        tokens = np.append(np.frombuffer(text, dtype=np.uint8).astype(np.uint16), np.uint16(END_OF_DOCUMENT))
        builder.add_document(tokens, [len(tokens)])
    builder.finalize(f"{prefix}.idx")


def _fingerprint(files: Sequence[Path], held_out: float) -> str:
    """Changes when a file is added, removed or written to."""
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([held_out, state]).encode()).hexdigest()


def _check_counts(folder: Path, about: dict[str, Any], remedy: str) -> None:
    for name in COUNTS:
        if type(about.get(name)) is not int or about[name] < 0:
            raise UserError(f"{folder} is damaged: its list has no number {name}; {remedy}")


def prepare(data: Sequence[Path], out: Path, held_out: float, sequence: int) -> dict[str, int]:
    """Make the datasets unless they are there already; returns counts for the report."""
    files = find_files(data)
    folder = out / "data"
    fingerprint = _fingerprint(files, held_out)
    about = read_about(folder)
    if about is not None and about.get("fingerprint") == fingerprint:
        remedy = f"remove {folder} to have it made again"
        check_folder(folder, remedy, FILES)
        _check_counts(folder, about, remedy)
    else:
        documents, skipped = _load(data, files)
        training, validation = split(documents, held_out)
        about = {
            "fingerprint": fingerprint,
            "files": len(files),
            "not_text": skipped,
            "train_bytes": sum(map(len, training)),
            "valid_bytes": sum(map(len, validation)),
        }
        try:
            with new_folder(folder, about) as target:
                _write(target / "train", training)
                _write(target / "valid", validation)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    for part in ("train", "valid"):
        if about[f"{part}_bytes"] <= sequence:
            raise UserError(
                f"the {part} part has {about[f'{part}_bytes']} bytes of text, which is less than one sample "
                f"of --seq {sequence}; give more --data or a smaller --seq"
            )
    return {name: about[name] for name in COUNTS}
