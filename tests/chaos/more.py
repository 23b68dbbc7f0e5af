"""As many random kills as wanted, a handful to each state folder.

    python tests/chaos/more.py --kills 200 [--seed 1] [--round 7]

Each round has a seed of its own, made of `--seed` and its number, so that `--round` plays one
again. Ends with 1 at the first difference from an undisturbed run, and keeps the folder.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests: drawn.py

from comparing import Outcome, differences, outcome_of
from killing import Place, Tempo, draw_pictures, random_kills, tempo_of

IN_A_ROUND = 8


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="this round alone")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spheroidd-chaos-"))
    say(f"{options.kills} kills, seed {options.seed}, in {folder}")
    draw_pictures(folder / "pictures")
    place = Place(folder / "undisturbed", folder / "pictures")
    tempo, undisturbed = tempo_of(place), outcome_of(place)
    if wrong := differences(place, undisturbed):
        return fail(wrong, folder)
    say(f"undisturbed: {tempo.ready:.1f} s to be ready, {tempo.work:.1f} s of work")

    done: Counter[str] = Counter()
    number, started = options.round or 1, time.monotonic()
    while kills_of(done) < options.kills:
        seed = f"{options.seed}/{number}"
        wrong = play(folder / f"round-{number}", seed, tempo, undisturbed, done)
        if wrong:
            say(f"play it again: --seed {options.seed} --round {number}")
            return fail(wrong, folder)
        minutes = (time.monotonic() - started) / 60
        say(f"round {number}: as undisturbed; {kills_of(done)} kills in {minutes:.1f} min")
        if options.round:
            break
        number += 1
    shutil.rmtree(folder)
    told = ", ".join(f"{count} × {what}" for what, count in sorted(done.items()))
    say(f"{told}: 0 lost, 0 doubled, nothing left behind")
    return 0


def play(
    folder: Path, seed: str, tempo: Tempo, undisturbed: Outcome, done: Counter[str]
) -> list[str]:
    """Kill a handful of times, let it finish, and compare; the folder goes if all is well."""
    place = Place(folder, folder.parent / "pictures")
    try:
        for kill in random_kills(seed, IN_A_ROUND, tempo):
            said = place.suffer(kill)
            done[said] += 1
            say(f"  {kills_of(done):4}  {kill}: {said}")
        place.finish()
        wrong = differences(place, undisturbed)
    except AssertionError as error:
        wrong = [str(error)]
    finally:
        place.end()
    if not wrong:
        shutil.rmtree(folder)
    return wrong


def kills_of(done: Counter[str]) -> int:
    """Not every life comes to its point, and not at every moment there is a worker."""
    return done["killed"] + done["worker killed"]


def fail(wrong: list[str], folder: Path) -> int:
    for line in wrong:
        say(f"DIFFERENCE: {line}")
    say(f"everything is kept in {folder}")
    return 1


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
