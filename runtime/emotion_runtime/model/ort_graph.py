"""Check the content of a file in onnxruntime's own format before onnxruntime opens it.

The format is a flatbuffer (flatbuffers.dev/internals); the slots of the tables are those of
``onnxruntime/core/flatbuffers/schema/ort.fbs``. The rules are those for ONNX files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from emotion_runtime.model.onnx_graph import MAX_FIELDS, check_elements
from emotion_runtime.model.operators import check_operator

_STRING = 8  # TensorDataType


def check_ort(data: bytes) -> None:
    """Refuse a file that contains what `onnx_graph.check_onnx` refuses in an ONNX file.

    Raises:
        ValueError: As in `onnx_graph.check_onnx`.
    """
    _OrtChecker(data).check_model()


class _OrtChecker:
    """Checks one file; the number of values is limited, so that the check ends."""

    def __init__(self, data: bytes) -> None:
        self._data, self._fields_left = data, MAX_FIELDS

    def check_model(self) -> None:
        session = self._read_number("I", 0)
        model = self._follow_table(session, 1)  # model
        graph = self._follow_table(model, 7) if model else 0  # graph
        if not graph:
            raise ValueError("it holds no graph: not a model")
        if any(self._follow_tables(graph, 7)):  # sparse_initializers
            raise ValueError("it holds sparse tensors")
        for tensor in self._follow_tables(graph, 0):  # initializers
            self._check_tensor(tensor)
        for node in self._follow_tables(graph, 2):  # nodes
            check_operator(self._read_text(node, 2), self._read_text(node, 5))  # domain, op_type
            for attribute in self._follow_tables(node, 10):  # attributes
                self._check_attribute(attribute)

    def _check_attribute(self, table: int) -> None:
        if self._find_field(table, 7) or any(self._follow_tables(table, 12)):  # g, graphs
            raise ValueError("an operator holds a graph of its own")
        if tensor := self._follow_table(table, 6):  # t
            self._check_tensor(tensor)
        for tensor in self._follow_tables(table, 11):  # tensors
            self._check_tensor(tensor)

    def _check_tensor(self, table: int) -> None:
        # external_data_offset; -1, the default, means that the values are in the file.
        if (where := self._find_field(table, 6)) and self._read_number("q", where) != -1:
            raise ValueError(
                "its weights lie in another file (external data); a model file is one file"
            )
        if (kind := self._find_field(table, 3)) and self._read_number("i", kind) == _STRING:
            raise ValueError("it holds tensors of text")
        elements = 1
        if dims := self._find_field(table, 2):
            first, count = self._find_vector(dims, 8)
            for position in range(first, first + 8 * count, 8):
                elements *= self._read_number("Q", position)  # a negative size reads as a huge one
        check_elements(elements, len(self._data))

    def _read_number(self, kind: str, position: int) -> int:
        self._fields_left -= 1
        if self._fields_left < 0:
            raise ValueError(f"its graph has more than {MAX_FIELDS:,} parts")
        if position < 0:
            raise _make_damage_error()
        try:
            value: int = struct.unpack_from("<" + kind, self._data, position)[0]
        except struct.error as error:
            raise _make_damage_error() from error
        return value

    def _find_field(self, table: int, slot: int) -> int:
        """Return the position of the field of a slot; 0 where the table lacks it."""
        slots = table - self._read_number("i", table)
        entry = 4 + 2 * slot
        if entry + 2 > self._read_number("H", slots):
            return 0
        offset = self._read_number("H", slots + entry)
        return table + offset if offset else 0

    def _follow_table(self, table: int, slot: int) -> int:
        field = self._find_field(table, slot)
        return field + self._read_number("I", field) if field else 0

    def _find_vector(self, field: int, width: int) -> tuple[int, int]:
        """Return the position of a vector's first element, and the number of elements."""
        vector = field + self._read_number("I", field)
        count = self._read_number("I", vector)
        if vector + 4 + count * width > len(self._data):
            raise _make_damage_error()
        return vector + 4, count

    def _follow_tables(self, table: int, slot: int) -> Iterator[int]:
        if field := self._find_field(table, slot):
            first, count = self._find_vector(field, 4)
            for position in range(first, first + 4 * count, 4):
                yield position + self._read_number("I", position)

    def _read_text(self, table: int, slot: int) -> str:
        if not (field := self._find_field(table, slot)):
            return ""
        first, count = self._find_vector(field, 1)
        return self._data[first : first + count].decode("utf-8", errors="replace")


def _make_damage_error() -> ValueError:
    return ValueError("not a model in onnxruntime's format, or a damaged one")
