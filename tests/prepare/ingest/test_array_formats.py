"""Files of arrays of NumPy, PyTorch, safetensors, mmsegmentation: known values, names of images, untrusted content."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from masksift.core.errors import DataError
from masksift.prepare.ingest.array_formats import ImageArrays, read_array, read_header, read_image_arrays
from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from prepare.ingest.helpers import InputFiles, assert_ingest_fails, ingest, read_source
from support.datasets import Array
from support.errors import raises
from support.sources import make_data

VALUES = np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)

# torch 2.13: torch.save({"logits": VALUES as half, "ids": ["a", "b", "c"]}); its values are a view with strides
TORCH_ZIP = (
    "c-o~@&ui0Q7=Dv>X%}a^)x&g$fd{36c5Tz9tv|LBX55w*>qIGngf#tDgITjL`8rV$0wTks9z1vu@BRUTr~L=wMK8N~@+AHT=Ev40>DHmX5MG"
    "kJ&+|Tc^Sob6ip2qvNf?P~$be$1kF;&H&{c?%+j^{vLJA&)!ls{N$hH{=pc_4nSeR0Y;lOh8fM~kK$|mXzG`%Ym)VB;%-Y&A3&Su*Q2VpstN"
    ")O?f4`EjnedDhGjK%Rb<&@;{L_6kWb!&hb=`6vCI}%7SiI(C!I4Q-YDT&&_ldn|O&~>B|&FEX~ZL^C^)Lqt8!eaK)IzC14)H*)xF=<^3ryk;"
    "T*5g<3w3j=0#>*<sph2!BC6b@#KkR*Tp14=**eT7zh2fNP8-}^55P2J!mZL)y&PRrIL=@aspMLGVaGO(OTg^e`u+{$PWJT9{{Y}&-qQITpZ8"
    "Z3jD`4pf{z*G6=&=H3U}-3z^OPXN9kVE0`<K24p=*Tb$kp)j#*cHZjhL|-Qm`0u<w9N*uKtGrhw?hqL4akr2_oEr6?+9%?NwN_*Fdr*Xw(~a"
    "W48g#ded(1HeIEQ_kVxSyWSkDG!18lN{5a}N2PMC%lP$u@7~GtpNHb10lbg5kf}Kic&50%m$j}a<o<FNg>t1>E!1k|LZMnN@g*)_<nw&3Qmb"
    ")Au9D|Du2ABueA!i5e)n-Q>*&aODk)d&P-k#krbm=V&ygrPxB#;u<V6aO+pj1|(8O~glGj0!k<E$n1dTWo;>pl3x&Tpl&>g7|{4EU;??$mfA"
    "EZOrdJLj&ih_f`XFdde696A=oR-8emk(?fyD~&3BKZsD=W5)~4$ga(VElXk1e;)dOv0=8YySX=R$<2"
)
# torch.save({"logits": VALUES as bfloat16}, _use_new_zipfile_serialization=False), the format before torch 1.6
TORCH_LEGACY = (
    "c-n1GJx>Bb5WO!%S1^>=QJxJ!j0lyt#?Wk3#AX|Fo_8BqbGc=1_eeA$xem0lw6LJ0w6yf6*!mMpEL<RVPBF>6c{A_5+<HRs&ujO)cDLy5)^q"
    "FZ%hr7YhD$4kVT@9tL?~i^%u>lk0;VR=vfjj8shIgJiFlBJHKRy_>VCw0$sd>mdjgJ23mTL|kt!$<i`shPiGmH{P-po=Bm*cCC(G8FbYle$x"
    "RPLoN~Gbi?q`a}68R~+&3GL7iX~E{{<w+2a$Q<n3TS39U|_FL&`CEIf!c3ft#Jen-O;qpLA%pw9X5{It!ASQg_WIflxaKFa|OjqVi22H#F@e"
    "-aY%`nQ`mY8b^4fvN{5%|B8^zeqEj9!1Zb}h+X_m3C`;}CTKoS;#tiCJ<FE2#!}Gk{n|mMLr)S^_uHgpua1Y<$5zg@pKjRlX#|!+1-|;VcPj"
    "?R"
)
# as mmengine 0.10 dumps results of mmsegmentation: pickle.dumps([{"pred_sem_seg": {"data": VALUES as tensor},
# "img_path": "x/a.png"}, the same with VALUES + 1 and "x/b.png"], protocol=2)
MMSEG_PICKLE = (
    "c-q~P%Wl&^6o!3E(oWMfy{B9YE3*l01Ekp_HpA6yW`jnKJ;X+io#Po-6e&_SrIcsj0pJmkSS1Tyi*a%yKw`lbELop@{L4Pa=R31rf#Ht9bXn"
    "anj8QH^F2zuv1F*(mGe=iLU-{q!D$9eY%?lMLlJH#gi#Q3n5~<8`esV;h;$lW>_ya+BlKCNjoo7SdKUG2!s0KX9LJ>$J((-~pjeR!_V{&FqK"
    "9XemZSv{S^y~hc$>-;LZC!ja{bH9K>n>Sy)?ucyAWQg($Yq?RV3rZKsvjk>Qi<Rq4P!qAYx02+T~((e!DakTNU+D?xU8a!GRkrV6>2eC-^Hn"
    "dDs^VFCRsXw8g+`I{H)7rWqLji81wPSW1V@4BZA2qI@0SL_j=t<_d%z3bZ`Lk_XeW^Y}$INz<E)=P5<gYg-yTRGJZcyq=mGR4zhx*B5TMc<T"
    "8>VSCDn&DzbrGLpG7?$PMHsatpbQ+(GUlVTqM3CBBN&Ls)(f#DkS{sC%$V4Qf-1Iv3EO4y{x30@f}Ay~#ubN-t89XL%^Je-Gn85oq4=U|qq6"
    "2b+?WW5vS(ANeYRt=UfA-u2rfy{heE3_EV51=)?9sNzP|=sz>+e)sVB-rpKE5C3A+ziQH=e`rNoqdgC<oWoTQuKm>L`a+`{mr-fUO$GZN+>+"
    "5kkp4`N+l6TV0B}|Rx&"
)


class Program:
    """Object that creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture
def inputs(tmp_path: Path) -> InputFiles:
    files = InputFiles(tmp_path, make_data(images=3))
    files.remove_predictions()
    return files


def unpack(path: Path, text: str) -> str:
    path.write_bytes(zlib.decompress(base64.b85decode(text)))
    return str(path)


def read_all(url: str) -> dict[Any, Array]:
    """Read all images of a file, by name or number."""
    found = read_image_arrays(url, {}, "predictions")
    arrays = found.arrays if isinstance(found, ImageArrays) else tuple(found.images())
    names = found.names if isinstance(found, ImageArrays) and found.names else range(len(arrays))
    return {name: array.read({}) for name, array in zip(names, arrays, strict=True)}


def assert_ingested(inputs: InputFiles, *args: object) -> None:
    assert ingest(inputs, *args) == 0
    arrays = read_source(inputs.out)
    np.testing.assert_array_equal(arrays["predictions"], inputs.data.predictions)
    assert arrays["image_id"].tolist() == inputs.names


# ---------------------------------------------------------------------------------------------------- files of PyTorch


def test_torch_archive_is_read_without_torch(tmp_path: Path) -> None:
    url = unpack(tmp_path / "a.pt", TORCH_ZIP)
    np.testing.assert_array_equal(read_array(url, {}), VALUES)
    assert read_header(url, {}).dtype == np.float16
    assert {name: image.tolist() for name, image in read_all(url).items()} == dict(
        zip("abc", VALUES.tolist(), strict=True)
    )


def test_torch_file_of_old_format_and_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    values = read_array(unpack(tmp_path / "a.pth", TORCH_LEGACY), {})
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "int64", "uint8", "bool"])
def test_tensors_and_their_views_equal_those_of_torch(tmp_path: Path, dtype: str, legacy: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch writes the files")
    whole = torch.randn(3, 4, 5, 6).to(getattr(torch, dtype))
    for tensor in (whole, whole[1], whole.permute(0, 2, 3, 1), whole[:, 1:3, ::2], whole.mT):
        torch.save({"x": whole, "logits": tensor}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        expected = tensor.float().numpy() if dtype == "bfloat16" else tensor.numpy()
        values = read_array(str(tmp_path / "a.pt"), {})
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == expected.dtype


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickled_tensors_equal_those_of_torch(tmp_path: Path, protocol: int) -> None:
    torch = pytest.importorskip("torch", reason="torch writes the files")
    logits = torch.randn(2, 3, 8, 9)
    results = [{"seg_logits": {"data": one}, "img_path": f"{i}.png"} for i, one in enumerate(logits)]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(results, protocol=protocol))
    read = read_all(str(tmp_path / "a.pkl"))
    assert list(read) == ["0.png", "1.png"]
    np.testing.assert_array_equal(np.stack(list(read.values())), logits.numpy())


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_file_per_image_is_ingested(inputs: InputFiles, ending: str) -> None:
    torch = pytest.importorskip("torch", reason="torch writes the files") if ending == "pt" else None
    inputs.predictions.mkdir(exist_ok=True)
    for name, values in zip(inputs.names, inputs.data.predictions, strict=True):
        file = inputs.predictions / f"{name}.{ending}"
        if torch is None:
            save_file({"logits": values, "features": np.zeros(3)}, file)
        else:
            torch.save(torch.from_numpy(values), file)
    assert_ingested(inputs)


# -------------------------------------------------------------------------------------------------------- safetensors


def test_safetensors_of_any_dtype_are_read(tmp_path: Path) -> None:
    url = str(tmp_path / "a.safetensors")
    for dtype in ("float16", "float32", "float64", "uint8", "int16", "int64", "bool"):
        values = VALUES.astype(dtype)
        save_file({"x": np.ascontiguousarray(values)}, url, metadata={"format": "np"})
        read = read_array(url, {})
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, values)


def test_bfloat16_of_safetensors_is_read_as_float32(tmp_path: Path) -> None:
    values = np.array([[[1.0, -2.5], [3e38, 0.0]]], np.float32)
    stored = (values.view(np.uint32) >> 16).astype("<u2")
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1, 2, 2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + stored.tobytes())
    read = read_array(str(tmp_path / "a.safetensors"), {})
    np.testing.assert_array_equal(read.view(np.uint32), stored.astype(np.uint32) << 16)


def test_file_with_a_tensor_per_image_is_matched_by_name(inputs: InputFiles) -> None:
    named = dict(zip(inputs.names, inputs.data.predictions, strict=True))
    save_file(named, inputs.predictions.with_suffix(".safetensors"))
    inputs.predictions = inputs.predictions.with_suffix(".safetensors")
    assert_ingested(inputs)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[]", "it is not a safetensors file"),
        (b'{"x": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}', "x is stored as F4"),
        (b'{"x": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4000000000]}}', "ends at byte 4,000"),
        (b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', r"x of shape \(2,\) has 4 bytes"),
        (b'{"x": {"shape": [2], "data_offsets": [0, 4]}}', "its header has no dtype, shape or place of x"),
    ],
)
def test_invalid_safetensors_file_is_refused(tmp_path: Path, header: bytes, message: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with raises(DataError, rf"a.safetensors cannot be read as an array \(.*{message}"):
        read_header(str(file), {})


# ------------------------------------------------------------------------------------------- pickles of mmsegmentation


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickled_list_of_arrays_is_read(tmp_path: Path, protocol: int, order: str) -> None:
    arrays = [VALUES.astype(dtype, order=order) for dtype in ("<i8", ">f4", "u1", "<f2")]
    arrays.append(np.broadcast_to(np.float32(0.25), (3, 80, 90)).copy(order))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol=protocol))
    read = read_all(str(tmp_path / "a.pkl"))
    for i, array in enumerate(arrays):
        assert read[i].dtype == array.dtype
        np.testing.assert_array_equal(read[i], array)


def test_pickled_results_of_mmsegmentation_are_read_without_torch(tmp_path: Path) -> None:
    read = read_all(unpack(tmp_path / "a.pkl", MMSEG_PICKLE))
    np.testing.assert_array_equal(read["x/a.png"], VALUES)
    np.testing.assert_array_equal(read["x/b.png"], VALUES + 1)


def test_results_with_paths_are_matched_by_name(inputs: InputFiles) -> None:
    pairs = list(zip(inputs.names, inputs.data.predictions, strict=True))[::-1]
    results = [{"img_path": f"/data/{name}.jpg", "seg_logits": {"data": values}} for name, values in pairs]
    inputs.predictions = inputs.predictions.with_suffix(".pkl")
    inputs.predictions.write_bytes(pickle.dumps(results, protocol=2))
    assert_ingested(inputs)


def test_results_without_paths_need_ids(inputs: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    inputs.predictions = inputs.predictions.with_suffix(".pkl")
    inputs.predictions.write_bytes(pickle.dumps(list(inputs.data.predictions[::-1]), protocol=2))
    message = "predictions.pkl holds 3 images without names. They cannot be matched by name with .*labels. Pass --ids"
    assert_ingest_fails(message, capsys, *inputs.args())
    ids = inputs.labels.with_suffix(".txt")
    ids.write_text("".join(f"{name}.jpg\n" for name in inputs.names[::-1]))
    assert_ingested(inputs, "--ids", ids)


def test_results_of_class_numbers_become_probabilities_of_1(inputs: InputFiles) -> None:
    numbers = inputs.data.predictions.argmax(axis=1).astype(np.int64)
    results = [
        {"img_path": name, "pred_sem_seg": {"data": one[None]}} for name, one in zip(inputs.names, numbers, strict=True)
    ]
    inputs.predictions = inputs.predictions.with_suffix(".pkl")
    inputs.predictions.write_bytes(pickle.dumps(results, protocol=2))
    assert ingest(inputs, "--classes", "a,b,c,d") == 0
    np.testing.assert_array_equal(read_source(inputs.out)["predictions"].argmax(axis=1), numbers)


def test_pickle_runs_no_code(tmp_path: Path) -> None:
    file, trace = tmp_path / "a.pkl", tmp_path / "trace"
    file.write_bytes(pickle.dumps([Program(trace), VALUES]))
    with raises(DataError, r"a.pkl cannot be read as an array \(it holds no array of predictions"):
        read_image_arrays(str(file), {}, "predictions")
    file.write_bytes(pickle.dumps({"logits": VALUES, "other": Program(trace)}))
    np.testing.assert_array_equal(read_array(str(file), {}), VALUES)
    assert not trace.exists()


def test_pickle_next_to_arrays_is_not_read(inputs: InputFiles) -> None:
    inputs.save_predictions(inputs.data.predictions)
    for name in inputs.names:
        (inputs.predictions / f"{name}.pkl").write_bytes(b"properties of nnU-Net")
    assert_ingested(inputs)


@pytest.mark.parametrize(("ending", "text"), [("pt", TORCH_ZIP), ("pt", TORCH_LEGACY), ("pkl", MMSEG_PICKLE)])
def test_damaged_file_is_refused_or_read(tmp_path: Path, ending: str, text: str) -> None:
    file = tmp_path / f"a.{ending}"
    data = zlib.decompress(base64.b85decode(text))
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data[: generator.integers(len(data))] if generator.random() < 0.3 else data)
        for position in generator.integers(len(damaged), size=3) if damaged else ():
            damaged[position] = generator.integers(256)
        file.write_bytes(damaged)
        with suppress(DataError):  # and no other error
            read_all(str(file))


# ----------------------------------------------------------------------------------------------------------- all images


def test_array_of_all_images_is_matched_with_files_by_ids(inputs: InputFiles) -> None:
    inputs.predictions = inputs.predictions.with_suffix(".npy")
    np.save(inputs.predictions, inputs.data.predictions)
    ids = inputs.labels.with_suffix(".txt")
    ids.write_text("\n".join(inputs.names))
    assert_ingested(inputs, "--ids", ids)


@pytest.mark.parametrize("file", ["npz", "compressed.npz", "safetensors"])
def test_labels_of_all_images_by_name_match_prediction_files(inputs: InputFiles, file: str) -> None:
    inputs.save_predictions(inputs.data.predictions)
    labels = dict(zip(inputs.names, inputs.data.labels, strict=True))
    inputs.labels = inputs.labels.with_suffix(f".{file}")
    if file == "safetensors":
        save_file(labels, inputs.labels)
    else:
        save: Any = np.savez_compressed if "compressed" in file else np.savez
        save(inputs.labels, **labels)
    assert_ingested(inputs)
    np.testing.assert_array_equal(read_source(inputs.out)["labels"], inputs.data.labels)


def test_compressed_array_of_all_images_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", logits=VALUES)
    found = read_image_arrays(str(tmp_path / "a.npz"), {}, "predictions")
    assert isinstance(found, StoredArray)
    with raises(DataError, "is compressed. Its images cannot be read one at a time. Write one file per image"):
        list(found.images())
