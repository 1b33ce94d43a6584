"""What a student's process wrote is read as hostile bytes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save

from attention_course.grade.inside.wire import Frames, Garbled, frame
from attention_course.grade.sandbox.parse import (
    begun,
    cell_said,
    defined,
    end_said,
    observation,
    plan_said,
)
from attention_course.learn.answer_key import pack_observation


def packed(seen: dict, case: str = "c0") -> bytes:
    store: dict[str, torch.Tensor] = {}
    said = {"exercise": "e", "case": case, "seen": pack_observation(seen, store, "t")}
    return save(store, metadata={"data": json.dumps(said)})


def raw(header: dict, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_tensor(**changes) -> bytes:
    spec = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes
    said = {"exercise": "e", "case": "c0", "seen": {"output": {"tensor": "x"}}}
    return raw({"__metadata__": {"data": json.dumps(said)}, "x": spec}, b"\0" * 8)


def test_an_observation_comes_back_as_it_was():
    seen = {
        "output": torch.tensor([[1.0, float("nan")]], dtype=torch.float64),
        "mask": torch.tensor([True, False]),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.empty(0, 4),
        "number": torch.tensor(5),
        "raised": "ValueError",
        "raised_classes": ["ValueError", "Exception"],
        "infinite": float("inf"),
        "parameters": {"w": [2, 3]},
    }
    exercise, case, back = observation(packed(seen))
    assert (exercise, case) == ("e", "c0")
    assert set(back) == set(seen)
    for name, value in seen.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(back[name].nan_to_num(7), value.nan_to_num(7))
            assert back[name].dtype == value.dtype
        else:
            assert back[name] == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        b"\xff" * 100,
        raw({}),
        raw({"__metadata__": 5}),
        raw({"__metadata__": {"data": "[]"}}),
        raw({"__metadata__": {"data": "{}"}}),
        raw({"__metadata__": {"data": "[" * 100_000}}),
        raw({"__metadata__": {"data": '{"case": "c", "seen": {"a": 5}}'}}),
        raw({"__metadata__": {"data": '{"case": 5, "seen": {}}'}}),
        with_tensor(dtype="F4"),
        with_tensor(dtype=[]),
        with_tensor(shape=[3]),
        with_tensor(shape=[-2]),
        with_tensor(shape=[True, True]),
        with_tensor(shape=[2**40, 2**40]),
        with_tensor(shape=[2**47, 2**47, 0], data_offsets=[0, 0]),
        with_tensor(shape=[2] + [1] * 40),
        with_tensor(shape="ab"),
        with_tensor(data_offsets=[0, 9]),
        with_tensor(data_offsets=[8, 0]),
        with_tensor(data_offsets=[0]),
        with_tensor(data_offsets=None),
        packed({"raised": 5}),
        packed({"raised": "E", "raised_classes": 5}),
        packed({"raised": "E", "raised_classes": [[]]}),
        packed({"gradient_raised_message": {}}),
        packed({"parameters": [1]}),
        packed({"parameters": {"w": ["x"]}}),
        packed({"x" * 1000: 1}),
        packed({"deep": [[[[[[[[[[[[1]]]]]]]]]]]]}),
        packed({"long": "x" * 100_000}),
    ],
)
def test_whatever_is_no_observation_is_garbled(data):
    with pytest.raises(Garbled):
        observation(data)


def test_half_a_character_does_not_reach_a_file():
    *_, seen = observation(packed({"text": "\ud800"}))
    assert seen["text"].encode("utf-8") == b"?"


def test_outputs_that_are_none_are_left_out():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "a"},
        {"output_type": "stream", "name": "passwd", "text": "a"},
        {"output_type": "stream", "name": "stdout", "text": 5},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": "t"},
        {"output_type": "display_data", "data": {"text/plain": {"a": 1}, "x": "y"}},
        {"output_type": "execute_result", "data": {"a/json": [1]}, "metadata": {}},
        {"output_type": "virus"},
        "text",
    ]
    data = json.dumps({"cell": "a", "outputs": outputs}).encode()
    said = cell_said(data, {"a"}, 10_000)
    assert [o["output_type"] for o in said.outputs] == [
        "stream",
        "display_data",
        "execute_result",
    ]
    assert said.outputs[1]["data"] == {}
    assert said.outputs[2]["execution_count"] is None


OF_NO_CELL = [
    b"",
    b"5",
    b"[]",
    b'{"cell": 1}',
    b'{"cell": ["a"], "outputs": []}',
    b'{"cell": "q", "outputs": []}',
    b"[" * 10**6,
]


@pytest.mark.parametrize("data", OF_NO_CELL)
def test_what_is_said_of_no_cell_is_garbled(data):
    with pytest.raises(Garbled):
        cell_said(data, {"a"}, 10_000)
    with pytest.raises(Garbled):
        plan_said(data, {"a"})


def test_more_json_than_an_honest_process_says_is_not_read():
    data = json.dumps({"cell": "a", "outputs": [], "x": "y" * 10_000}).encode()
    assert cell_said(data, {"a"}, 20_000).cell == "a"
    with pytest.raises(Garbled):
        cell_said(data, {"a"}, 10_000)
    lists = b"[" + b"[]," * 2**20 + b"[]]"
    for read in (begun, lambda d: defined(d, ["a"]), lambda d: end_said(d, {"a"})):
        with pytest.raises(Garbled, match="too much"):
            read(lists)
    with pytest.raises(Garbled, match="too much"):
        observation(raw({"__metadata__": {"data": "{}"}, "x": [[]] * 2**20}))


def test_a_plan_and_an_end_name_cells_of_the_notebook_alone():
    plan = plan_said(json.dumps({"left": ["a", "z", 1], "words": []}).encode(), {"a"})
    assert plan.left == ("a",)
    facts = {"end": "died", "observing": False, "status": 1, "peak": 2}
    for cell, kept in (("a", "a"), ("z", None), (7, None), (["a"], None)):
        said = end_said(json.dumps({"cell": cell, **facts}).encode(), {"a"})
        assert said.cell == kept


def test_the_name_of_a_class_is_no_sentence():
    name = "nothing. \u2713 softmax: complete, 4 of 4 <b>points</b>" + "x" * 500
    *_, seen = observation(packed({"raised": name, "raised_classes": [name]}))
    assert seen["raised"].startswith("nothing._softmax_complete_4_of_4_b_points")
    assert len(seen["raised"]) <= 60
    assert seen["raised_classes"] == [seen["raised"]]
    *_, seen = observation(packed({"raised": "lib.errors.OddError2"}))
    assert seen["raised"] == "lib.errors.OddError2"


def test_a_frame_longer_than_allowed_is_not_waited_for(tmp_path):
    path = tmp_path / "frames"
    path.write_bytes(frame(b"a", b"one") + b"b\xff\xff\xff\xff")
    with path.open("rb") as file:
        frames = Frames(file.fileno(), 100)
        frames.read()
        taken = frames.take()
        assert next(taken) == (b"a", b"one")
        with pytest.raises(Garbled):
            next(taken)
