"""How often new normal images are called anomalous where several held-out images are of one patient, on drawn scores.

    python measurements/false_alarms.py

A score is the sum of a normal number for its patient and one for the image; "likeness" is the share of the variance that is the patient's.
Each number is the mean over 1,500 calibrations, each asked about 2,000 new images of as many new patients.
"""

from __future__ import annotations

import argparse

import numpy as np
from measuring import table

from medood.metrics.calibration import Calibration

PATIENTS = (2, 3, 5, 10, 20, 40)
NEW = 2000


def false_alarms(patients: int, images: int, likeness: float, rate: float, times: int, random: np.random.Generator) -> float:
    groups = np.repeat(np.arange(patients), images)
    shares = []
    for _ in range(times):
        held_out = np.sqrt(likeness) * random.normal(size=patients)[groups] + np.sqrt(1 - likeness) * random.normal(size=len(groups))
        shares.append(Calibration.fit(held_out, groups, rate).anomalous(random.normal(size=NEW)).mean())
    return float(np.mean(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="of a patient")
    parser.add_argument("--rate", type=float, default=0.05, help="false alarms that are asked for")
    parser.add_argument("--times", type=int, default=1500)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    rows = []
    for likeness in (0.0, 0.5, 0.8):
        rates = {n: false_alarms(n, options.images, likeness, options.rate, options.times, random) for n in PATIENTS}
        rows.append({"likeness": f"{likeness:g}"} | {f"{n} patients": f"{100 * rate:.1f} %" for n, rate in rates.items()})
    print(table(rows))


if __name__ == "__main__":
    main()
