"""Write the sample models: ``python -m samples.catalog.make_models``.

The files are committed beside the products; this program makes them again, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from samples.catalog.modelling import footwear, home, wear
from samples.catalog.modelling.glb import Model

HERE = Path(__file__).parent

MODELS: dict[str, Callable[[], Model]] = {
    "atelier-nord/models/lamp.glb": home.lamp,
    "atelier-nord/models/chair.glb": home.chair,
    "atelier-nord/models/plant.glb": home.plant,
    "atelier-nord/models/mug-fjord.glb": lambda: home.mug("mug fjord", "#3f6f86"),
    "atelier-nord/models/mug-moss.glb": lambda: home.mug("mug moss", "#7c8a4a"),
    "atelier-nord/models/print-dusk.glb": lambda: home.print_in_frame(
        "print dusk",
        ["#f6d7b0", "#f3bf95", "#e79a86", "#c67a86", "#8d6489", "#5a5282"],
        "#fff0c9",
        ["#7d5a78", "#5b4a6e", "#3b3a5c", "#232a45"],
    ),
    "atelier-nord/models/print-dawn.glb": lambda: home.print_in_frame(
        "print dawn",
        ["#fdf1dc", "#f9e0c4", "#f2c9b8", "#d9c3cf", "#b7c6dc", "#93bddb"],
        "#f7a072",
        ["#a9bfae", "#7da08c", "#4f7f71", "#2c5a57"],
    ),
    "harbour-and-thread/models/runner-tide.glb": lambda: footwear.shoe("runner tide", "#2f6f8f", "#f08a4b"),
    "harbour-and-thread/models/runner-chalk.glb": lambda: footwear.shoe("runner chalk", "#d9d4c7", "#2f6f5e"),
    "harbour-and-thread/models/scarf.glb": wear.scarf,
    "harbour-and-thread/models/sunglasses.glb": wear.sunglasses,
    "harbour-and-thread/models/hat.glb": lambda: wear.hat("hat", "#c9b48a", "#b5432f"),
    "harbour-and-thread/models/book.glb": wear.book,
}
"""File below this folder -> how to make it."""


def main() -> None:
    for name, make in MODELS.items():
        data = make().glb()
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        print(f"{name}  {len(data)} bytes")


if __name__ == "__main__":
    main()
