"""What a file of a MACE model holds, read without running anything of it.

Such a file is a pickle in a zip archive (torch's format), and to unpickle it can run any code. Here every class and
function that the pickle names is stood in for by an empty one, so that what is read is a tree of names and values;
neither torch nor MACE is imported.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from physembed.errors import PhysEmbedError
from physembed.provenance import file_hash

DTYPES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32",
}  # fmt: skip
"""Precision by the name of torch's storage."""
EMBEDDING, HIDDEN = ("node_embedding", "linear"), ("products", "0", "linear")
"""Layers that say how many channels there are, and what the features after the first layer are."""


class _Stand:
    """Takes the place of any class or function; what it is called with or given is kept or dropped, never run."""

    arguments: tuple[Any, ...]

    def __new__(cls, *arguments: Any, **_: Any) -> _Stand:
        self = object.__new__(cls)
        self.arguments = arguments
        return self

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                vars(self).update(part)

    def _drop(self, *_: Any) -> None:
        pass

    __setitem__ = append = extend = add = _drop


@dataclass(eq=False)
class _Tensor:
    """A tensor, its values still in the archive."""

    storage: str
    dtype: str
    offset: int
    shape: tuple[int, ...]


@cache
def _stand(module: str, name: str) -> type[_Stand]:
    return type(name, (_Stand,), {"__module__": module})


def _rebuilt_tensor(storage: tuple[str, str], offset: int, shape: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(*storage, offset, tuple(shape))


def _rebuilt_parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuilt_parameter,
}
"""What is not stood in for by an empty class."""


class _NoModelError(Exception):
    """Why a file is no model that can be used; a complete sentence."""


class _Reader(pickle.Unpickler):
    """Builds the tree of names and values."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.packages: set[str] = set()
        """Packages whose classes and functions the pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for all but plain containers and tensors."""
        self.packages.add(module.partition(".")[0])
        return HARMLESS.get((module, name)) or _stand(module, name)

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """Key and precision of a storage."""
        _, kind, key, *_ = pid
        return str(key), DTYPES.get(kind.__name__, kind.__name__)


def _what_else(path: Path) -> str:
    """What a file is that is no zip archive, by its first bytes."""
    with path.open("rb") as file:
        first = file.read(16)
    if first.startswith(b"PK"):
        return "is damaged or cut off (a zip archive without its end); download or copy it again"
    if first.startswith(b"\x80"):
        return "is a plain pickle; if it holds a MACE model, load it and write it anew with a present torch.save"
    if first.startswith(b"\x1f\x8b"):
        return "is compressed (gzip); unpack it"
    if first.lstrip().startswith(b"<"):
        return "is a web page, not a model; download the file itself"
    return "is no file of torch.save; give a model as MACE's trainer writes it"


CONVERTED = {"cuequivariance_torch": "cuEquivariance", "openequivariance": "OpenEquivariance"}
"""Packages whose layers stand in models that were converted for them."""
WITHOUT_ENERGY = {"AtomicDipolesMACE": "dipoles", "AtomicDielectricMACE": "dipoles and polarisabilities"}
"""Classes of MACE that give no energies, and what they give."""


class _File:
    """A model in its archive."""

    def __init__(self, path: Path) -> None:
        if not zipfile.is_zipfile(path):
            raise _NoModelError(_what_else(path))
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            roots = {name.partition("/")[0] for name in names if name.endswith("/data.pkl")}
            if len(roots) != 1:
                raise _NoModelError(
                    f"is a zip archive, but none of torch.save (it has {', '.join(names[:3])}); give a model as MACE's "
                    "trainer writes it"
                )
            (self._root,) = roots
            if f"{self._root}/constants.pkl" in names:
                raise _NoModelError("is a compiled model (TorchScript); give the one that it was made from")
            reader = _Reader(BytesIO(archive.read(f"{self._root}/data.pkl")))
            self.model = reader.load()
        for package, use in CONVERTED.items():
            if package in reader.packages:
                raise _NoModelError(f"is converted for {use}; give the one that it was made from")
        self._path = path

    def values(self, tensor: _Tensor) -> NDArray[Any]:
        """The values of a tensor, (n,)."""
        dtype = np.dtype(tensor.dtype)
        with zipfile.ZipFile(self._path) as archive:
            stored = np.frombuffer(archive.read(f"{self._root}/data/{tensor.storage}"), dtype)
        return stored[tensor.offset : tensor.offset + int(np.prod(tensor.shape))]


def describe_model(path: str | Path, key: str = "model") -> dict[str, Any]:
    """What a file of a MACE model holds, as plain values. Nothing in it is run.

    Args:
        path: the file.
        key: what names it; it begins each message.

    Returns:
        sha256, class, elements (symbols), r_max_A, num_channels, num_interactions, hidden_irreps (node features
        after the first layer), parameters (their number), dtype, heads and head (the one that is used).

    Raises:
        PhysEmbedError: it holds no MACE model, or one of several heads with none called default.
    """
    try:
        return _described(_File(Path(path)), f"{key}: {path}") | {"sha256": file_hash(path)}
    except PhysEmbedError:
        raise
    except zipfile.BadZipFile as error:
        raise PhysEmbedError(f"{key}: {path}: is damaged or cut off ({error}); download or copy it again") from error
    except _NoModelError as error:
        raise PhysEmbedError(f"{key}: {path}: {error}") from error
    except Exception as error:  # a file that is none can end the reader in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PhysEmbedError(f"{key}: {path}: cannot be read as a MACE model: {reason}") from error


def _described(file: _File, what: str) -> dict[str, Any]:
    model, name = file.model, type(file.model).__name__
    buffers = getattr(model, "_buffers", {})
    if isinstance(model, dict):
        raise _NoModelError(
            "holds a dictionary, as a checkpoint does, not a MACE model; give the file that ends in .model"
        )
    if name.startswith("LAMMPS") or name in ("MACEEdgeForcesWrapper", "OptimizedModule"):
        raise _NoModelError(f"holds {name}, converted for LAMMPS or by torch.compile; give the one it was made from")
    if name in WITHOUT_ENERGY:
        raise _NoModelError(f"holds {name}, which gives {WITHOUT_ENERGY[name]} and no energy")
    if not {"atomic_numbers", "r_max"} <= set(buffers):
        raise PhysEmbedError(f"{what}: holds {name}, not a MACE model")
    if name in ("PolarMACE", "MACELES"):
        raise PhysEmbedError(f"{what}: holds {name}; MACE with charges is not supported")
    if inputs := getattr(model, "embedding_specs", None):
        raise _NoModelError(f"needs {' and '.join(inputs)} as input; models with charge or spin are not supported")
    heads = [str(head) for head in getattr(model, "heads", ["Default"])]
    embedded, hidden = (_irreps(_part(model, *names)) for names in (EMBEDDING, HIDDEN))
    weights = list({id(weight): weight for weight in _parameters(model)}.values())
    return {
        "class": name,
        "elements": [chemical_symbols[int(z)] for z in file.values(buffers["atomic_numbers"])],
        "r_max_A": float(file.values(buffers["r_max"])[0]),
        "num_channels": sum(count * (2 * degree + 1) for count, degree, _ in embedded),
        "num_interactions": len(_part(model, "interactions")._modules),
        "hidden_irreps": "+".join(f"{count}x{degree}{'e' if parity == 1 else 'o'}" for count, degree, parity in hidden),
        "parameters": sum(int(np.prod(weight.shape)) for weight in weights),
        "dtype": weights[0].dtype,
        "heads": heads,
        "head": chosen_head(heads, what),
    }


def chosen_head(heads: list[str], what: str) -> str:
    """The head of a MACE model that is used: its only one, or the one that is called `default` in any case.

    This is the choice of MACE's own calculator.

    Raises:
        PhysEmbedError: there are several, none of them called so; `what` begins the message.
    """
    chosen = heads if len(heads) == 1 else [head for head in heads if head.lower() == "default"]
    if not chosen:
        raise PhysEmbedError(
            f"{what}: has the heads {', '.join(heads)}, and none is called default; "
            "write one of them to a file of its own with mace_select_head"
        )
    return chosen[0]


def _part(model: Any, *names: str) -> Any:
    for name in names:
        model = model._modules[name]
    return model


def _parameters(module: Any) -> Iterator[_Tensor]:
    """Parameters of a module and of those in it."""
    # A module that is a graph is rebuilt from its own dictionary.
    rebuilt = next((part for part in module.arguments if isinstance(part, dict)), {})
    held = vars(module) if hasattr(module, "_modules") else rebuilt
    yield from (weight for weight in held.get("_parameters", {}).values() if weight is not None)
    for part in held.get("_modules", {}).values():
        if part is not None:
            yield from _parameters(part)


def _irreps(linear: Any) -> list[tuple[int, int, int]]:
    """Multiplicity, degree and parity of what an e3nn layer gives."""
    found = []
    for item in linear.irreps_out.arguments[0]:
        multiplicity, irrep = item.arguments[0]
        degree, parity = irrep.arguments[0]
        found.append((int(multiplicity), int(degree), int(parity)))
    return found
