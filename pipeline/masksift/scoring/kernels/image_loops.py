"""Loops over the images of a batch around the loops of `condense_loops`."""

from __future__ import annotations

from masksift.scoring.kernels._jit import kernel
from masksift.scoring.kernels.condense_loops import CONDENSE_LOOPS, DOUBLE, HALF, INTEGER, SINGLE, softmax_tiles

_integers, _halves, _singles, _doubles = (CONDENSE_LOOPS[mode] for mode in (INTEGER, HALF, SINGLE, DOUBLE))


def _make_loop(mode):
    """Return the loop over images for one mode.

    It closes over a number only: numba's cache key contains the closed-over values, and functions differ by process.
    """

    @kernel
    def condense(
        codes,
        labels,
        state,
        top,
        low,
        high,
        greatest,
        width,
        step,
        y0,
        x0,
        shift,
        table,
        self_confidence,
        predicted_class,
        predicted_confidence,
        sums,
        leaders,
        highest,
        at_label,
        where,
        own,
        every,
        own_total,
        every_total,
    ):
        """Condense images (n, K, P) to planes (n, P) where ``state`` (n,) is 0, and set it to 1 where that fails.

        Images that do not fail add their lattice pixels to ``own_total`` and ``every_total``, by way of the scratch
        ``own`` and ``every`` if they have several tiles. The other arguments are those of the loop over one image.
        """
        whole = labels.shape[1] <= sums.size
        for i in range(len(codes)):
            if state[i] != 0:
                continue
            labeled, counted = (own_total, every_total) if whole else (own, every)
            arguments = (
                codes[i],
                labels[i],
                top,
                low,
                high,
                greatest,
                width,
                step,
                y0,
                x0,
                shift,
                table,
                self_confidence[i],
                predicted_class[i],
                predicted_confidence[i],
                sums,
                leaders,
                highest,
                at_label,
                where,
                labeled,
                counted,
            )
            if mode == HALF:
                failed = _halves(*arguments)
            elif mode == SINGLE:
                failed = _singles(*arguments)
            elif mode == DOUBLE:
                failed = _doubles(*arguments)
            else:
                failed = _integers(*arguments)
            if failed:
                state[i] = 1
            if not whole:
                for k in range(every.shape[0]):
                    for part in range(256):
                        if not failed:
                            every_total[k, part] += every[k, part]
                        every[k, part] = 0
                for k in range(own.shape[0]):
                    for part in range(256):
                        if not failed:
                            own_total[k, part] += own[k, part]
                        own[k, part] = 0

    return condense


IMAGE_LOOPS = {mode: _make_loop(mode) for mode in (INTEGER, HALF, SINGLE, DOUBLE)}


@kernel
def softmax_images(logits, state, out, peaks, totals, scratch):
    """Write the softmax of each image (n, K, P) where ``state`` (n,) is 0, and set it to 1 where one is not finite.

    ``peaks``, ``totals``, ``scratch``: those of `softmax_tiles`.
    """
    for i in range(len(logits)):
        if state[i] == 0 and not softmax_tiles(logits[i], 0, out[i], peaks, totals, scratch):
            state[i] = 1
