"""From a detector's output to a calibrated row: calibration, the gate on inputs, inference, rows, tables, map folders."""
