"""`masksift.integrations.onnx`: evidence of a session over batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from integrations.helpers import IMAGES, SIZE, check_evidence, make_labels, make_pictures, open_writer
from masksift.engine.planning import layout
from masksift.integrations.batches import resize

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is an extra: pip install 'masksift[onnx]'")
onnx = pytest.importorskip("onnx", reason="onnx writes the files of these tests")
from masksift.integrations.onnx import write_evidence  # noqa: E402


@pytest.fixture
def session() -> Any:
    """Session of a convolution with an output of half the size."""
    helper, types = onnx.helper, onnx.TensorProto
    images = helper.make_tensor_value_info("images", types.FLOAT, ["n", 3, "h", "w"])
    logits = helper.make_tensor_value_info("logits", types.FLOAT, ["n", 3, "y", "x"])
    values = np.random.default_rng(0).normal(0, 3, 36).tolist()
    weights = helper.make_tensor("weights", types.FLOAT, (3, 3, 2, 2), values)
    node = helper.make_node("Conv", ["images", "weights"], ["logits"], strides=[2, 2])
    graph = helper.make_graph([node], "half", [images], [logits], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_session_writes_resized_logits_and_resumes(
    tmp_path: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 2000)
    pictures, labels = make_pictures(), make_labels()
    inputs = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    ids = [f"scene {i}" for i in range(IMAGES)]
    batches = [
        {"image": inputs[i : i + 2], "mask": labels[i : i + 2], "id": ids[i : i + 2], "rgb": pictures[i : i + 2]}
        for i in range(0, IMAGES, 2)
    ]
    write_evidence(session, batches[:2], open_writer(tmp_path / "a.zarr", pictures=True), pictures="rgb")
    with open_writer(tmp_path / "a.zarr", pictures=True) as writer:
        assert 0 < writer.next_image < IMAGES
        write_evidence(session, batches, writer, pictures="rgb")
    small = session.run(None, {"images": inputs})[0]
    logits = np.stack([resize(planes, SIZE) for planes in small])
    check_evidence(tmp_path / "a.zarr", logits, labels, ids)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/images", mode="r")[:], pictures)
