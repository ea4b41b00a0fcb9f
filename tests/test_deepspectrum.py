"""DeepSpectrum: pictures against librosa + matplotlib, and the contract of a backbone that hears."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affectkit import plugins
from affectkit.backbones import deepspectrum
from affectkit.backbones.deepspectrum import SIDE, Spectrograms
from affectkit.config import Numerics
from affectkit.errors import UsageError

torch = pytest.importorskip("torch")
librosa = pytest.importorskip("librosa")
matplotlib = pytest.importorskip("matplotlib")

RATE = 16000
RNG = np.random.default_rng(0)
SHORT = 8000
SMALL = ["net=mean-pixel"]


@pytest.fixture(scope="module", autouse=True)
def agg() -> Iterator[None]:
    """Plots in memory."""
    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    matplotlib.use(before)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The networks' pictures are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sound(name: str, seconds: float) -> NDArray[np.float32]:
    """[S]"""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = 0.1 * np.random.default_rng(1).standard_normal(len(time))
    made = {
        "noise": lambda: noise,
        "tone": lambda: 0.5 * np.sin(2 * np.pi * 440 * time),
        "chirp": lambda: np.sin(2 * np.pi * (100 * time + 3500 * time**2 / seconds)),
        "silence": lambda: 0 * time,
        "half silence": lambda: np.where(time < seconds / 2, noise, 0),
        "faint": lambda: 1e-4 * noise,
    }
    return made[name]().astype(np.float32)


def plot(window: NDArray[np.float32], n_mels: int = 128, fmax: float = RATE / 2, top_db: float | None = None) -> Any:
    """uint8 [227,227,3] as librosa and matplotlib draw it."""
    import librosa.display
    import matplotlib.pyplot as plt
    from PIL import Image

    spectrum = np.abs(librosa.stft(window.astype(np.float64), n_fft=512, hop_length=256, center=False)) ** 2
    mel = librosa.feature.melspectrogram(S=spectrum, sr=RATE, n_mels=n_mels, fmax=fmax)
    level = librosa.power_to_db(mel, ref=np.max, top_db=top_db)
    figure = plt.figure(frameon=False, figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    librosa.display.specshow(
        level, sr=RATE, hop_length=256, fmax=fmax, y_axis="mel", x_axis="time", cmap="viridis", ax=axes
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=SIDE)
    plt.close(figure)
    return np.asarray(Image.open(file).convert("RGB"))


def draw(
    windows: NDArray[np.float32], n_mels: int = 128, fmax: float | None = None, top_db: float | None = None
) -> Any:
    """[N,S] -> uint8 [N,227,227,3]"""
    pictures = Spectrograms(RATE, n_mels, fmax, top_db, "cpu")(windows)
    assert pictures.dtype == torch.uint8
    return pictures.permute(0, 2, 3, 1).numpy()


def build(given: list[str], batch_size: int = 8) -> Any:
    _, plugin, options = plugins.backbone("deepspectrum", given)
    numerics = Numerics(device="cpu", batch_size=batch_size)
    return plugin(options, plugin.weights(options, "random"), numerics)


@pytest.fixture(scope="module")
def lite0() -> Any:
    """The default network, with small pictures."""
    return build(["net.input_size=64"])


class TestPicture:
    @pytest.mark.parametrize("seconds", [0.5, 1, 4, 10])
    @pytest.mark.parametrize("name", ["noise", "tone", "chirp", "half silence", "faint"])
    def test_as_librosa_and_matplotlib_draw_it(self, name: str, seconds: float) -> None:
        window = sound(name, seconds)
        ours, theirs = draw(window[None])[0], plot(window)
        assert np.unique(theirs.reshape(-1, 3), axis=0).shape[0] > 20
        apart = np.abs(ours.astype(int) - theirs).max(axis=-1)
        assert apart.max() <= 3  # two colours next to each other
        assert (apart > 1).sum() <= 1  # only where a value is on the border of two levels within rounding

    @pytest.mark.parametrize("options", [{"n_mels": 64}, {"n_mels": 40, "fmax": 4000.0}, {"top_db": 80.0}], ids=str)
    def test_with_options_too(self, options: dict[str, Any]) -> None:
        window = sound("half silence", 2)
        np.testing.assert_array_equal(draw(window[None], **options)[0], plot(window, **options))

    def test_silence_is_one_colour(self) -> None:
        window = sound("silence", 1)
        picture = draw(window[None])[0]
        np.testing.assert_array_equal(picture, plot(window))
        assert (picture == (68, 1, 84)).all()

    def test_one_frame_is_as_wide_as_the_picture(self) -> None:
        picture = draw(sound("noise", 1)[None, :512])[0]
        assert (picture == picture[:, :1]).all()
        assert len(np.unique(picture[:, 0], axis=0)) > 20

    def test_low_frequencies_lie_at_the_bottom_and_time_runs_to_the_right(self) -> None:
        brightness = draw(sound("chirp", 4)[None])[0].astype(int).sum(axis=-1)
        top = brightness.argmax(axis=0)
        assert top[5] > 200 and top[-5] < 20
        assert (np.diff(top[5:-5]) <= 2).all()

    def test_the_frame_of_a_column_whatever_the_number_of_frames(self) -> None:
        """Against pcolormesh: with an even number, the middle one is on an edge."""
        import matplotlib.pyplot as plt

        counts = [*range(2, 40), 60, 124, 226, 227, 228, 454, 500, 623]
        for count in counts:
            index = np.arange(count)
            figure = plt.figure(frameon=False, figsize=(1, 1))
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set_axis_off()
            colours = np.stack([index % 256, index // 256, 0 * index], axis=-1).astype(np.uint8)
            times = librosa.frames_to_time(index, sr=RATE, hop_length=256)
            axes.pcolormesh(times, [0, 1], np.stack([colours, colours]), edgecolors="None", rasterized=True)
            figure.set_dpi(SIDE)
            figure.canvas.draw()
            pixels = np.asarray(figure.canvas.buffer_rgba())[100].astype(int)
            plt.close(figure)
            drawn = pixels[:, 0] + 256 * pixels[:, 1]
            np.testing.assert_array_equal(deepspectrum.frame_of_column(count, RATE, 256), drawn, str(count))

    def test_the_colours_are_those_of_matplotlib(self) -> None:
        colours = np.array(matplotlib.colormaps["viridis"].colors)
        np.testing.assert_array_equal(deepspectrum.table(), np.floor(colours * 255 + 0.5))

    def test_bands_too_narrow_for_the_spectrum_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"128 mel bands up to 2000 Hz leave \d+ of them without a frequency"):
            Spectrograms(RATE, 128, 2000.0, None, "cpu")

    def test_drawing_leaves_the_number_of_threads_as_it_was(self) -> None:
        torch.set_num_threads(3)
        draw(sound("noise", 0.1)[None])
        assert torch.get_num_threads() == 3
        torch.set_num_threads(1)


class TestBackbone:
    WINDOWS = np.stack([sound("noise", 0.5), sound("chirp", 0.5), sound("silence", 0.5), sound("tone", 0.5)])

    def test_values_are_the_network_on_the_pictures(self) -> None:
        backbone = build(SMALL)
        _, plugin, options = plugins.backbone("mean-pixel")
        net = plugin(options, plugin.weights(options, "auto"), Numerics(device="cpu"))
        pictures = np.stack([plot(window) for window in self.WINDOWS]).transpose(0, 3, 1, 2)
        values = backbone(self.WINDOWS)["values"]
        assert backbone.outputs == {"values": 192} and backbone.names == {}
        assert values.dtype == np.float32
        np.testing.assert_allclose(values[:, 0], net(np.ascontiguousarray(pictures)), atol=1e-4)

    def test_the_default_network_is_efficientnet_lite0(self, lite0: Any) -> None:
        assert plugins.backbone("deepspectrum")[2].net.name == "efficientnet-lite0"
        values = lite0(self.WINDOWS)["values"]
        assert values.shape == (4, 1, 1280) and np.isfinite(values).all()

    def test_neighbours_position_and_batch_change_no_bit(self, lite0: Any) -> None:
        first = lite0(self.WINDOWS)["values"]
        for index, window in enumerate(self.WINDOWS):
            np.testing.assert_array_equal(lite0(window[None])["values"][0], first[index])
        np.testing.assert_array_equal(lite0(self.WINDOWS[::-1])["values"][::-1], first)
        pictures = draw(np.concatenate([RNG.standard_normal((3, SHORT)).astype(np.float32), self.WINDOWS]))
        np.testing.assert_array_equal(pictures[3:], draw(self.WINDOWS))

    def test_a_row_a_window_and_none_below_one_frame(self) -> None:
        backbone = build([*SMALL, "images=true"])
        for samples in (0, 1, 511, 512, 513, 64000):
            start, end = backbone.frames(samples)
            result = backbone(np.zeros((2, samples), np.float32))
            rows = int(samples >= 512)
            assert start.tolist() == [0.0] * rows and end.tolist() == [samples / RATE] * rows
            assert result["values"].shape == (2, rows, 192)
            assert [len(pictures) for pictures in result["image"]] == [rows, rows]
        assert backbone(np.zeros((0, 16000), np.float32))["values"].shape == (0, 1, 192)

    def test_the_pictures_are_kept_when_asked_for(self) -> None:
        from PIL import Image

        backbone = build([*SMALL, "images=true"])
        result = backbone(self.WINDOWS)
        assert backbone.images and not build(SMALL).images
        for window, (encoded,) in zip(self.WINDOWS, result["image"], strict=True):
            image = Image.open(io.BytesIO(encoded))
            assert image.format == "PNG" and image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), draw(window[None])[0])
        assert set(build(SMALL)(self.WINDOWS)) == {"values"}

    def test_the_windows_are_left_as_they_were(self) -> None:
        windows = self.WINDOWS.copy()
        windows.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(SMALL)(windows)
        np.testing.assert_array_equal(windows, self.WINDOWS)

    def test_options_of_the_network_are_its_own(self) -> None:
        options = plugins.backbone("deepspectrum", ["net=vgg16", "net.layer=fc2"])[2]
        assert (options.net.name, options.net.texts) == ("vgg16", ["layer=fc2"])
        assert build(["net.layer=blocks.0", "net.input_size=32"]).outputs == {"values": 16}
        with pytest.raises(UsageError, match="options of efficientnet-lite0: input_size"):
            build(["net.input_size=7"])

    @pytest.mark.slow
    def test_the_network_of_the_papers_gives_4096_values(self) -> None:
        assert build(["net=vgg16", "net.layer=fc2"], batch_size=1).outputs == {"values": 4096}

    def test_weights_are_those_of_the_network(self, tmp_path: Any) -> None:
        _, plugin, options = plugins.backbone("deepspectrum", ["net=resnet18"])
        assert plugin.weights(options, "random").name.startswith("resnet18")
        with pytest.raises(UsageError, match="cannot be read"):
            plugin.weights(options, str(tmp_path / "none.pth"))

    def test_a_network_that_hears_is_refused(self) -> None:
        _, plugin, options = plugins.backbone("deepspectrum", ["net=deepspectrum"])
        with pytest.raises(UsageError, match=r"net 'deepspectrum' of deepspectrum hears sound.*efficientnet-lite0"):
            plugin.weights(options, "random")
