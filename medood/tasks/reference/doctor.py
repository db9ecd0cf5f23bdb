"""What this installation can do: devices, and decoders per DICOM transfer syntax."""

from __future__ import annotations

import platform

import torch
from rich.console import Console
from rich.table import Table

from medood import __version__
from medood.core.files.user_folders import default_cache
from medood.sources.dicom.decoding.frames import installed_decoders


def print_report() -> None:
    console = Console(highlight=False)
    console.print(f"medood {__version__}, Python {platform.python_version()}, torch {torch.__version__}, {platform.platform()}")
    console.print(f"Prepared images are kept in {default_cache()}", soft_wrap=True)
    devices = Table("device", "what it is", box=None, title="Devices", title_justify="left")
    devices.add_row("cpu", f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        devices.add_row(f"cuda:{number}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        devices.add_row("mps", "Apple GPU")
    console.print(devices)
    decoders = Table("transfer syntax", "decoders, first choice first", box=None, title="DICOM decoders", title_justify="left")
    for syntax, names in installed_decoders().items():
        decoders.add_row(syntax, ", ".join(names) or "none: images of this kind cannot be read")
    console.print(decoders)
