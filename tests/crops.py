"""The pictures of a store, for tests that look at them."""

import cv2
import numpy as np

from did.data.store import Crops, FaceStore


def pictures(store: FaceStore) -> dict[str, np.ndarray]:
    """Return name -> crop, RGB uint8 (size, size, 3), in the order of the manifest."""
    rows = store.manifest
    crops, found = Crops(store.root, rows), {}
    for number, name in enumerate(rows["face"]):
        found[name] = cv2.imdecode(np.frombuffer(crops.read(number), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    return found
