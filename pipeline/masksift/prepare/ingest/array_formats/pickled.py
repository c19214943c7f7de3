"""Read the structure of pickled data without running it.

Python's unpickler imports and calls whatever a file names. This interpreter of the same format imports nothing and
calls nothing: a call of a known function of NumPy or PyTorch becomes a `StoredArray`, any other one an inert `Object`.
Byte strings are skipped, so that only the structure is read.

Opcodes: pickletools of the standard library. Arguments of the functions: numpy's `ndarray.__reduce__` and torch's
`torch._utils._rebuild_tensor_v2`.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np

from masksift.prepare.ingest.array_formats.stored_array import StoredArray, c_strides

_INLINE_BYTES = 4096
"""Texts up to this size are values, larger ones are skipped, as byte strings of any size are."""
_MAX_LINE = 1 << 16
_LENGTH_BYTES = {
    "SHORT_BINBYTES": 1,
    "BINBYTES": 4,
    "BINBYTES8": 8,
    "BYTEARRAY8": 8,
    "SHORT_BINUNICODE": 1,
    "BINUNICODE": 4,
    "BINUNICODE8": 8,
}
"""Opcodes of byte strings and texts, and the bytes of their length."""
_VALUES = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "UNICODE", *_LENGTH_BYTES),
}
_MARK = object()
_OPCODES = {one.code: one for one in pickletools.opcodes if one.name not in ("STRING", "INST", "PERSID")}
"""Opcodes by code, without those of the text form (protocol 0) that no array needs."""
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Mapping[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
    "MARK": lambda: _MARK,
}
_BFLOAT16 = "bfloat16"
_TORCH_DTYPES = {
    "torch.HalfStorage": "<f2",
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.BFloat16Storage": _BFLOAT16,
    "torch.BoolStorage": "?",
    "torch.ByteStorage": "u1",
    "torch.CharStorage": "i1",
    "torch.ShortStorage": "<i2",
    "torch.IntStorage": "<i4",
    "torch.LongStorage": "<i8",
    "torch.uint16": "<u2",
    "torch.uint32": "<u4",
    "torch.uint64": "<u8",
}
"""Dtypes of torch's storage classes, and of the dtypes without one."""


@dataclass(frozen=True)
class Global:
    """Name of a class or function."""

    name: str


@dataclass
class Object:
    """Object of a class, or result of a function, that is not interpreted."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class Blob:
    """Bytes in the file. ``is_text``: they are the Latin-1 characters of the value in UTF-8."""

    position: int
    size: int
    is_text: bool = False


class _Text(str):
    """Text with its place in the file."""

    __slots__ = ("blob",)
    blob: Blob


@dataclass
class _Dtype:
    """Dtype of numpy, completed by its state."""

    code: str
    byte_order: str = "|"

    def numpy(self) -> np.dtype[Any]:
        if self.code.startswith(("O", "V", "S", "U", "M", "m")):
            raise ValueError(f"it holds an array of {self.code!r}, not of numbers")
        dtype = np.dtype(self.code)
        return dtype if self.byte_order not in "<>" else dtype.newbyteorder(self.byte_order)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TorchStorage:
    """Values of tensors.

    Attributes:
        dtype: Dtype by numpy's name, bfloat16, or "" for bytes of any dtype.
        values: Number of values.
        key: Name in its file.
        offset: Position of the values, of the text if they are text.
        text_bytes: Size of the text, or 0.
        text_skip: Bytes of the decoded text before the values.
    """

    dtype: str
    values: int
    key: str
    offset: int
    text_bytes: int = 0
    text_skip: int = 0

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype or "u1").itemsize


_COUNT_BYTES = 8
"""Bytes of the number of values before those of a storage, in torch's format before 1.6."""
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First object of a file of torch.save before 1.6."""
Locate = Callable[[str], int]
"""Function that returns the position of a storage of torch by its key."""


def read_pickle(file: BinaryIO, url: str) -> Any:
    """Find the arrays in a pickle file. Raises ValueError if it is invalid."""
    return Interpreter(file, url).run()


class Interpreter:
    """Interpreter of one pickle.

    Args:
        file: File at the start of the pickle.
        url: Its URL.
        locate: Function that finds the storages of a torch file.
        storages: Mapping to which the storages of a torch file are added by key.
        shift: Position of the first byte of ``file`` in the file of the URL.
    """

    def __init__(
        self,
        file: BinaryIO,
        url: str,
        locate: Locate | None = None,
        storages: dict[str, TorchStorage] | None = None,
        shift: int = 0,
    ) -> None:
        self._file, self._url, self._locate, self._storages, self._shift = file, url, locate, storages, shift
        start = file.tell()
        self._size = file.seek(0, 2)
        file.seek(start)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Interpret up to the end of the pickle and return its value; ValueError if it is invalid."""
        try:
            while opcode := _OPCODES.get(self._file.read(1).decode("latin-1")):
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, self._argument(opcode))
        except (IndexError, KeyError, TypeError, AttributeError, UnicodeError, OverflowError) as e:
            raise ValueError("it is not a valid pickle") from e
        raise ValueError("it is not a valid pickle")

    def _argument(self, opcode: Any) -> Any:
        if opcode.name in _LENGTH_BYTES:
            size = int.from_bytes(self._file.read(_LENGTH_BYTES[opcode.name]), "little")
            is_text = "UNICODE" in opcode.name
            position = self._file.tell()
            if position + size > self._size:
                raise ValueError("it ends within a value")
            blob = Blob(position + self._shift, size, is_text)
            if size > _INLINE_BYTES or not is_text:
                self._file.seek(size, io.SEEK_CUR)
                return blob
            text = _Text(self._file.read(size).decode("utf-8", "surrogatepass"))
            text.blob = blob
            return text
        if opcode.arg is None:
            return None
        if opcode.name == "GLOBAL":
            return f"{self._line()}.{self._line()}"
        if opcode.arg.n == pickletools.UP_TO_NEWLINE:
            return opcode.arg.reader(io.BytesIO(f"{self._line()}\n".encode("latin-1")))
        return opcode.arg.reader(self._file)

    def _line(self) -> str:
        line = self._file.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("it ends within a line")
        return line[:-1].decode("latin-1")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name not in ("PROTO", "FRAME"):
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in ("APPENDS", "SETITEMS", "ADDITEMS"):
            items = self._pop_mark()
            _fill(stack[-1], items)
        elif name == "APPEND":
            _fill(stack[-2], [stack.pop()])
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _fill(stack[-1], [key, value])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("TUPLE", "LIST", "FROZENSET"):
            items = self._pop_mark()
            stack.append(items if name == "LIST" else tuple(items))
        elif name == "DICT":
            items = self._pop_mark()
            stack.append({})
            _fill(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(Global(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Global(f"{module}.{attribute}"))
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name == "REDUCE":
            args, function = stack.pop(), stack.pop()
            stack.append(self._call(function.name, tuple(args)))
        elif name in ("NEWOBJ", "NEWOBJ_EX"):
            if name == "NEWOBJ_EX":
                stack.pop()
            args, cls = stack.pop(), stack.pop()
            stack.append(self._call(cls.name, tuple(args)))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1] = self._with_state(stack[-1], state)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._pop_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            raise ValueError(f"it uses the opcode {name}, which no program writes for arrays")

    def _pop_mark(self) -> list[Any]:
        for i in range(len(self._stack) - 1, -1, -1):
            if self._stack[i] is _MARK:
                items = self._stack[i + 1 :]
                del self._stack[i:]
                return items
        raise ValueError("it is not a valid pickle: a mark is missing")

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        """Interpret a call of a known function."""
        module, _, function = name.rpartition(".")
        if module.startswith("numpy"):
            if function == "dtype":
                return _Dtype(str(args[0]))
            if function == "_frombuffer":
                data, dtype, shape, order = args[:4]
                array = self._array(data, dtype.numpy(), tuple(shape), fortran=order == "F")
                return array.transpose(args[4]) if args[4:] and order == "K" and args[4] is not None else array
        elif name == "_codecs.encode":
            return args[0].blob if isinstance(args[0], _Text) else args[0]
        elif function == "bytes" and not args:
            return Blob(0, 0)
        elif name == "collections.OrderedDict":
            return dict(args[0]) if args else {}
        elif name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return self._tensor(args)
        elif name == "torch._utils._rebuild_tensor_v3":
            return self._tensor(args, _TORCH_DTYPES[args[6].name])
        elif name == "torch._utils._rebuild_parameter":
            return args[0]
        elif name == "torch.Size":
            return tuple(args[0])
        elif name == "torch.storage._load_from_bytes":
            return self._nested_storage(args[0])
        return Object(name, args)

    def _with_state(self, value: Any, state: Any) -> Any:
        """Interpret the state of an object; objects that others refer to are completed in place."""
        if isinstance(value, _Dtype):
            value.byte_order = str(state[1])
        elif isinstance(value, Object) and value.name.endswith("multiarray._reconstruct"):
            _, shape, dtype, fortran, data = state
            if dtype.code.startswith("O"):
                value.state = None
            else:
                value.state = self._array(data, dtype.numpy(), tuple(shape), fortran=bool(fortran))
        elif isinstance(value, Object):
            value.state = state
        return value

    def _array(self, data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], *, fortran: bool) -> StoredArray:
        if not isinstance(data, Blob):
            raise ValueError("it holds an array in the text form of pickle")
        strides = c_strides(shape[::-1])[::-1] if fortran and len(shape) > 1 else None
        text = data.size if data.is_text else 0
        array = StoredArray(self._url, shape, dtype, data.position, strides, text_bytes=text)
        if not text and array.span * dtype.itemsize != data.size:
            raise ValueError(f"an array of shape {shape} has {data.size:,} bytes")
        return array

    def _storage(self, persistent_id: Any) -> TorchStorage:
        """Interpret the reference to the values of a tensor in a torch file."""
        kind, cls, key, _, values = persistent_id[:5]
        if kind != "storage" or self._locate is None:
            raise ValueError("it refers to data outside of it")
        dtype = "" if cls.name.endswith("UntypedStorage") else _TORCH_DTYPES[cls.name]
        storage = TorchStorage(dtype, int(values), str(key), self._locate(str(key)))
        if self._storages is not None:
            self._storages[storage.key] = storage
        return storage

    def _nested_storage(self, blob: Any) -> TorchStorage:
        """Find the values of a tensor that is an object of a pickle: a storage in torch's format before 1.6."""
        if not isinstance(blob, Blob):
            raise ValueError("it holds a tensor in the text form of pickle")
        position = self._file.tell()
        self._file.seek(blob.position - self._shift)
        head = self._file.read(min(blob.size, _INLINE_BYTES))
        self._file.seek(position)
        if blob.is_text:
            head = head.decode("utf-8", "ignore").encode("latin-1")
        storage, end = read_legacy(io.BytesIO(head), self._url)
        if not isinstance(storage, TorchStorage):
            raise ValueError("it holds a tensor without values")
        start = end + _COUNT_BYTES
        if blob.is_text:
            return replace(storage, offset=blob.position, text_bytes=blob.size, text_skip=start)
        return replace(storage, offset=blob.position + start)

    def _tensor(self, args: tuple[Any, ...], dtype: str = "") -> StoredArray:
        storage, offset, size, stride = args[:4]
        name = dtype or storage.dtype
        values = np.dtype("<f4" if name == _BFLOAT16 else name)
        shape, strides = tuple(map(int, size)), tuple(map(int, stride))
        array = StoredArray(
            self._url,
            shape,
            values,
            storage.offset,
            None if strides == c_strides(shape) else strides,
            bfloat16=name == _BFLOAT16,
            text_bytes=storage.text_bytes,
        )
        start = int(offset) * array.stored_itemsize
        if start < 0 or min((*shape, *strides), default=0) < 0 or len(shape) != len(strides):
            raise ValueError(f"it holds a tensor of shape {shape} and strides {strides}")
        if start + array.span * array.stored_itemsize > storage.values * storage.itemsize:
            raise ValueError(f"a tensor of shape {shape} does not fit its storage of {storage.values:,} values")
        if storage.text_bytes:
            return replace(array, text_skip=storage.text_skip + start)
        return replace(array, offset=storage.offset + start)


def _fill(container: Any, items: list[Any]) -> None:
    """Add items to a list, or keys and values to a mapping; items of other objects are not needed."""
    if isinstance(container, list):
        container.extend(items)
    elif isinstance(container, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str | int | float | bool | tuple):
                container[key] = value


def read_legacy(file: BinaryIO, url: str) -> tuple[Any, int]:
    """Read a file in torch's format before 1.6: five pickles, and the values of each storage.

    Returns:
        The object, and the position after the pickles.

    Raises:
        ValueError: It is another file.
    """
    found: dict[str, TorchStorage] = {}
    offsets: dict[str, int] = {}
    if Interpreter(file, url).run() != _LEGACY_MAGIC:
        raise ValueError("it is not a file of torch.save")
    for _ in range(2):  # version, platform
        Interpreter(file, url).run()
    start = file.tell()
    Interpreter(file, url, lambda key: 0, storages=found).run()
    keys = Interpreter(file, url).run()
    if not isinstance(keys, list):
        raise ValueError("it is not a file of torch.save")
    offsets |= {str(key): 0 for key in keys}
    end = position = file.tell()
    for key in offsets:
        offsets[key] = position + _COUNT_BYTES
        position += _COUNT_BYTES + found[key].values * found[key].itemsize
    file.seek(start)
    return Interpreter(file, url, offsets.__getitem__).run(), end
