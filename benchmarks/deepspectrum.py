"""Drawing windows of sound as 227 x 227 pictures: the deepspectrum backbone's own drawing against librosa + matplotlib.

Both start from waveforms in memory and end with uint8 pictures [N,227,227,3]; the reference is the plot that
DeepSpectrum makes (stft, melspectrogram, power_to_db, specshow, savefig as PNG, read back), one window after another in
one process. That both draw the same is checked first, on every window. The networks that look at the pictures are no
part of it.
"""

from __future__ import annotations

import io

import numpy as np
from _report import Ratio, alternate, machine, options, seconds

SAMPLING_RATE = 16000


def sounds(count: int, length: float) -> np.ndarray:
    """float32 [N,S]: a gliding harmonic tone with a rhythm, over noise; each window another."""
    rng = np.random.default_rng(0)
    time = np.arange(int(length * SAMPLING_RATE)) / SAMPLING_RATE
    pitch = rng.uniform(80, 250, (count, 1)) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.2, 2, (count, 1)) * time))
    phase = 2 * np.pi * np.cumsum(pitch, axis=1) / SAMPLING_RATE
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
    rhythm = np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)
    return (0.1 * voice * rhythm + 0.003 * rng.standard_normal(phase.shape)).astype(np.float32)


def plot(window: np.ndarray) -> np.ndarray:
    """float32 [S] -> uint8 [227,227,3], as DeepSpectrum goes about it."""
    import librosa
    import librosa.display
    import matplotlib.pyplot as plt
    from PIL import Image

    spectrum = np.abs(librosa.stft(window.astype(np.float64), n_fft=512, hop_length=256, center=False)) ** 2
    mel = librosa.feature.melspectrogram(S=spectrum, sr=SAMPLING_RATE, n_mels=128)
    figure = plt.figure(frameon=False, figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    librosa.display.specshow(
        librosa.power_to_db(mel, ref=np.max, top_db=None), sr=SAMPLING_RATE, hop_length=256, fmax=SAMPLING_RATE / 2,
        y_axis="mel", x_axis="time", cmap="viridis", ax=axes,
    )  # fmt: skip
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=227)
    plt.close(figure)
    return np.asarray(Image.open(file).convert("RGB"))


def main() -> None:
    parser = options(__doc__, quick={"windows": 16, "rounds": 3}, smoke={"windows": 2, "length": 1.0, "rounds": 1})
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--length", type=float, default=4, help="seconds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    count = given.windows

    import matplotlib

    from affectkit.backbones.deepspectrum import Spectrograms

    matplotlib.use("Agg")
    windows = sounds(count, given.length)
    draw = Spectrograms(SAMPLING_RATE, 128, None, None, given.device)
    ours = draw(windows).permute(0, 2, 3, 1).cpu().numpy()
    theirs = np.stack([plot(window) for window in windows])
    differ = (ours != theirs).any(axis=-1).mean()
    assert differ < 1e-4, f"{differ:.2%} of the pixels differ"
    taken = alternate(
        given.rounds,
        ours=lambda: count / seconds(lambda: draw(windows).cpu())(),
        plotted=lambda: count / seconds(lambda: [plot(window) for window in windows])(),
    )
    what = f"{count} windows of {given.length:g} s as pictures; {given.device} / librosa + matplotlib"
    Ratio(taken["ours"], taken["plotted"], "windows/s", at_least=20).show(what)
    print(f"  pixels that differ: {differ:.4%}")
    print(machine())


if __name__ == "__main__":
    main()
