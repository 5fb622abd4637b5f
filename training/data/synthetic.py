"""Rendered clips as a data set."""

from __future__ import annotations

import numpy as np

from jdetrt.synthetic.clip import SyntheticClip
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import SyntheticConfig

__all__ = ["SyntheticPictures"]


class SyntheticPictures:
    """The frames of several rendered clips, rendered now and kept in memory.

    Every other clip has a moving camera. Identities of different clips are different people.

    Attributes:
        identities: how many people there are.
    """

    def __init__(self, config: SyntheticConfig) -> None:
        self.identities = 0
        self._samples: list[Sample] = []
        self._frames = config.frames
        for number in range(config.clips):
            clip = SyntheticClip(
                seed=config.seed + number,
                frames=config.frames,
                size=config.size,
                people=config.people,
                moving_camera=number % 2 == 1,
            )
            known: dict[int, int] = {}
            for frame, truth in clip:
                boxes = truth.boxes.copy()
                boxes[:, 2:] += boxes[:, :2]
                seen = truth.visibility >= max(config.min_visibility, 1e-6)
                ids = [
                    known.setdefault(i, self.identities + len(known))
                    for i in truth.ids[seen].tolist()
                ]
                self._samples.append(
                    Sample(
                        frame.image,
                        boxes[seen].astype(np.float32),
                        np.array(ids, np.int64),
                        boxes[~seen & (truth.visibility > 0)].astype(np.float32),
                    )
                )
            self.identities += len(known)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """One frame."""
        return self._samples[index]

    def successor(self, index: int) -> int | None:
        """Index of the next frame of the same clip, None for its last."""
        return None if (index + 1) % self._frames == 0 else index + 1
