"""Check the content of an ONNX file before onnxruntime opens it, by its protobuf fields.

The numbers of the fields are those of ``onnx.proto`` (github.com/onnx/onnx, ``onnx/onnx.proto``);
the wire format is protobuf's (protobuf.dev/programming-guides/encoding). Nothing is copied and
weights are skipped by their length, so that a file of 6 MB takes under a millisecond.

Where a field that should occur once occurs twice, protobuf uses the last scalar and merges
messages. Every occurrence of a message is checked here, so that none is missed.
"""

from __future__ import annotations

from collections.abc import Iterator

from emotion_runtime.model.operators import check_operator

MAX_FIELDS = 1_000_000  # a network of 100 layers has some thousands

_VARINT, _FIXED64, _MESSAGE, _FIXED32 = 0, 1, 2, 5
_STRING = 8  # TensorProto.DataType


def check_onnx(data: bytes) -> None:
    """Refuse an ONNX file that contains anything a model file does not need.

    Args:
        data: The bytes of an ONNX file.

    Raises:
        ValueError: The bytes are not an ONNX model, a part is damaged or lies in another file, or
            the graph contains a function, an operator with a graph of its own, or an operator
            that `operators.check_operator` refuses. The message is to follow the name of the file.
    """
    _OnnxChecker(data).check_model()


def find_graph(data: bytes) -> Iterator[bytes]:
    """Yield the bytes of the graph: its operators and weights, without the metadata of the file.

    Args:
        data: The bytes of an ONNX file that `check_onnx` accepts. It contains one graph, possibly
            in several parts, which protobuf merges.
    """
    for number, kind, start, end in _OnnxChecker(data)._read_fields(0, len(data)):
        if kind == _MESSAGE and number == 7:  # graph
            yield data[start:end]


class _OnnxChecker:
    """Checks one file; the number of fields is limited, so that the check ends."""

    def __init__(self, data: bytes) -> None:
        self._data, self._fields_left = data, MAX_FIELDS

    def check_model(self) -> None:
        graphs = 0
        for number, kind, start, end in self._read_fields(0, len(self._data)):
            if kind == _MESSAGE and number == 7:  # graph
                graphs += 1
                self._check_graph(start, end)
            elif number == 20:  # training_info
                raise ValueError("it holds instructions for training")
            elif number == 25:  # functions
                raise ValueError("it defines functions of its own")
        if not graphs:
            raise ValueError("it holds no graph: not an ONNX model")

    def _check_graph(self, start: int, end: int) -> None:
        for number, kind, first, last in self._read_fields(start, end):
            if kind != _MESSAGE:
                continue
            if number == 1:  # node
                self._check_node(first, last)
            elif number == 5:  # initializer
                self._check_tensor(first, last)
            elif number == 15:  # sparse_initializer
                raise ValueError("it holds sparse tensors")

    def _check_node(self, start: int, end: int) -> None:
        name = domain = ""
        attributes = []
        for number, kind, first, last in self._read_fields(start, end):
            if kind != _MESSAGE:
                continue
            if number == 4:  # op_type
                name = self._read_text(first, last)
            elif number == 5:  # attribute
                attributes.append((first, last))
            elif number == 7:  # domain
                domain = self._read_text(first, last)
        check_operator(domain, name)
        for first, last in attributes:
            self._check_attribute(first, last)

    def _check_attribute(self, start: int, end: int) -> None:
        for number, kind, first, last in self._read_fields(start, end):
            if kind != _MESSAGE:
                continue
            if number in (5, 10):  # t, tensors
                self._check_tensor(first, last)
            elif number in (6, 11):  # g, graphs
                raise ValueError("an operator holds a graph of its own")
            elif number in (22, 23):  # sparse_tensor, sparse_tensors
                raise ValueError("it holds sparse tensors")

    def _check_tensor(self, start: int, end: int) -> None:
        elements = 1
        for number, kind, first, last in self._read_fields(start, end):
            if number == 1:  # dims
                for size in [first] if kind == _VARINT else self._read_packed(first, last):
                    elements *= size  # a negative size reads as a huge one
            elif number == 13 or (number == 14 and first != 0):  # external_data, data_location
                raise ValueError(
                    "its weights lie in another file (external data); a model file is one file"
                )
            elif number == 2 and first == _STRING:  # data_type
                raise ValueError("it holds tensors of text")
        check_elements(elements, len(self._data))

    def _read_text(self, start: int, end: int) -> str:
        return self._data[start:end].decode("utf-8", errors="replace")

    def _read_packed(self, start: int, end: int) -> Iterator[int]:
        while start < end:
            value, start = self._read_varint(start)
            yield value

    def _read_fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield number, wire type, start and end of each field; of a varint, its value as start."""
        position = start
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(f"its graph has more than {MAX_FIELDS:,} parts")
            key, position = self._read_varint(position)
            number, kind = key >> 3, key & 7
            value = position
            if kind == _MESSAGE:
                size, value = self._read_varint(position)
                position = value + size
            elif kind == _VARINT:
                value, position = self._read_varint(position)
            elif kind == _FIXED32:
                position += 4
            elif kind == _FIXED64:
                position += 8
            else:
                raise _make_damage_error()
            if position > end or not number:
                raise _make_damage_error()
            yield number, kind, value, position

    def _read_varint(self, position: int) -> tuple[int, int]:
        """Return an integer of seven bits a byte, and the position after it."""
        data, value = self._data, 0
        try:
            byte = data[position]
            if byte < 0x80:
                return byte, position + 1
            for shift in range(0, 70, 7):
                byte = data[position]
                position += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    return value, position
        except IndexError:
            pass
        raise _make_damage_error()


def check_elements(elements: int, size: int) -> None:
    """Refuse a tensor that claims more elements than the file can contain.

    Args:
        elements: Number of elements.
        size: Size of the file in bytes; the smallest elements take half a byte.

    Raises:
        ValueError: There are more.
    """
    if elements > 2 * size:
        raise ValueError("it is damaged: a tensor is larger than the file")


def _make_damage_error() -> ValueError:
    return ValueError("not an ONNX model, or a damaged one")
