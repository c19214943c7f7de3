"""One contender on one data set: `python -m benchmarks.peers cleanlab|dask|masksift FOLDER`, used as documented.

Each computes the softmin score of every image and the mask of label issues, and writes `<name>.npy` with the scores
(N,) and `<name>.json` with the numbers of flagged pixels and tasks.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEMORY = 4 << 30
"""Memory limit of a contender in bytes, without file pages."""
TEMPERATURE = 0.1


def write_result(folder: Path, name: str, scores: NDArray[Any], flagged: int, tasks: int) -> None:
    np.save(folder / f"{name}.npy", scores)
    (folder / f"{name}.json").write_text(json.dumps({"flagged": int(flagged), "tasks": tasks}))


def cleanlab(folder: Path) -> None:
    """Run cleanlab on memory-mapped arrays, with default n_jobs and batch_size."""
    from cleanlab.segmentation.filter import find_label_issues
    from cleanlab.segmentation.rank import get_label_quality_scores

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    labels = np.load(folder / "labels.npy", mmap_mode="r")
    pred_probs = np.load(folder / "predictions.npy", mmap_mode="r")
    issues = find_label_issues(labels, pred_probs, verbose=False)
    scores, _ = get_label_quality_scores(labels, pred_probs, temperature=TEMPERATURE, verbose=False)
    write_result(folder, "cleanlab", scores, issues.sum(), 0)


def take(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    return np.take_along_axis(probabilities, labels.astype(np.intp), axis=1)[:, 0]


def dask_array(folder: Path) -> None:
    """Compute the same with dask.array over the Zarr chunks, on a local cluster of two workers."""
    import dask
    import dask.array as da
    import zarr
    from distributed import Client, LocalCluster

    group = zarr.open_group(str(folder / "peers.zarr"), mode="r")
    tasks = 0

    def compute(*collections: Any) -> Any:
        nonlocal tasks
        tasks += len(dict(dask.optimize(*collections)[0].__dask_graph__()))
        return dask.compute(*collections)

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=MEMORY // 2, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster),
    ):
        probabilities, labels = da.from_zarr(group["predictions"]), da.from_zarr(group["labels"])
        classes = probabilities.shape[1]
        own = da.map_blocks(take, probabilities, labels[:, None], drop_axis=1, dtype=probabilities.dtype)
        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        sums = da.bincount(labels.ravel(), weights=own.ravel().astype(float), minlength=classes)
        counts = da.bincount(labels.ravel(), minlength=classes)
        weights = da.exp((own.min(axis=(1, 2), keepdims=True) - own) / TEMPERATURE)
        softmin = (own * weights).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))
        sums, counts, scores = compute(sums, counts, softmin)
        thresholds = sums / np.maximum(counts, 1)

        def confident(predicted: NDArray[Any], confidence: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
            return (predicted != labels) & (confidence >= thresholds[predicted])

        (issues,) = compute(da.map_blocks(confident, predicted, confidence, labels, dtype=bool).sum())
        (lowest,) = compute(da.topk(own.ravel(), -int(issues)))
        mask = (own <= lowest.max()) & (predicted != labels)
        target = zarr.create_array(
            str(folder / "dask-mask.zarr"), shape=mask.shape, dtype=bool, chunks=mask.chunksize, overwrite=True
        )
        _, flagged = compute(da.store(mask, target, compute=False, lock=False), mask.sum())
    write_result(folder, "dask", scores, flagged, tasks)


def masksift(folder: Path) -> None:
    """Run `masksift run` with one score: in this process, or with two workers if the work is more than 20 s."""
    import shutil

    import distributed
    import pyarrow.dataset as ds

    from masksift.cli.main import main

    out, tasks = folder / "masksift-out", 0
    shutil.rmtree(out, ignore_errors=True)
    submit, map_tasks = distributed.Client.submit, distributed.Client.map

    def count_submit(*args: Any, **kwargs: Any) -> Any:
        nonlocal tasks
        tasks += 1
        return submit(*args, **kwargs)

    def count_map(*args: Any, **kwargs: Any) -> Any:
        nonlocal tasks
        futures = map_tasks(*args, **kwargs)
        tasks += len(futures)
        return futures

    distributed.Client.submit, distributed.Client.map = count_submit, count_map  # type: ignore[method-assign]
    code = main(
        [
            "run",
            "--source",
            str(folder / "peers.zarr"),
            "--out",
            str(out),
            "--methods",
            "softmin",
            "--softmin.temperature",
            str(TEMPERATURE),
            "--report.top",
            "0",
            "--executor.memory",
            f"{MEMORY // 2 >> 20} MiB",
            "--log-format",
            "quiet",
        ]
    )
    assert code == 0, code
    rows = ds.dataset(out / "images").to_table().sort_by("index")
    flagged = json.loads((out / "run.json").read_text())["flagged_pixels"]
    write_result(folder, "masksift", rows["softmin"].to_numpy(), flagged, tasks)


if __name__ == "__main__":
    {"cleanlab": cleanlab, "dask": dask_array, "masksift": masksift}[sys.argv[1]](Path(sys.argv[2]))
