# Made from the stages by `make docs`; do not edit.
"""Audio-visual affect recognition: staged, cached in HDF5, resumable."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from pandas import DataFrame

from affectkit.api.analysis import (
    AnalysisResult,
)
from affectkit.api.clip_tables import (
    ClipTable,
    FaceTable,
    FeatureTable,
    PredictionTable,
    SoundTable,
)
from affectkit.api.models import (
    TrainedModel,
)
from affectkit.api.outputs import (
    ScoreReport,
    StageOutput,
    StageReport,
    WrittenFile,
)
from affectkit.errors import (
    AffectkitError,
    HostileFile,
    MissingExtra,
    MissingFile,
    Notice,
    UsageError,
)
from affectkit.store import Artifact, Features
from affectkit.types import Clip

__all__ = [
    "AffectkitError",
    "AnalysisResult",
    "ClipTable",
    "FaceTable",
    "FeatureTable",
    "HostileFile",
    "MissingExtra",
    "MissingFile",
    "Notice",
    "PredictionTable",
    "ScoreReport",
    "SoundTable",
    "StageOutput",
    "StageReport",
    "TrainedModel",
    "UsageError",
    "WrittenFile",
    "__version__",
    "analyze",
    "compare",
    "embed",
    "evaluate",
    "export",
    "extract_audio",
    "extract_faces",
    "finetune",
    "functionals",
    "fuse",
    "import_features",
    "label_lag",
    "open",
    "overlay",
    "plot",
    "predict",
    "report",
    "submit",
    "train_head",
]

__version__: str

PathText = str | PathLike[str]
"""A path."""
ArtifactSource = PathText | StageOutput | Artifact | Features
"""What a stage's function returned, or what a command printed; of several layers "PATH:layer_07"."""
MediaSource = PathText | Sequence[PathText | Clip]
"""Media files, folders, folders of crops, a manifest CSV."""
LabelSource = PathText | DataFrame | tuple[str, PathText]
"""A CSV, a pandas frame with its columns, or (data set, root)."""
TableSource = PathText | DataFrame | StageOutput
"""A CSV or a pandas frame with its columns; predictions also as what `predict` or `fuse` returned."""
PluginSource = str | type[Any] | Any
"""The name of a plugin, or a class of one's own that follows its protocol; of a backbone an instance, too."""

def open(path: ArtifactSource, *, cache: PathText | None = None) -> Any:
    """What a path, a name or "PATH:layer_07" denotes: an artifact, a selection of one, a bundle's model, or a file. `cache`: where names, `latest` and beginnings are looked up. Raises UsageError where there is nothing of the kind."""

def export(
    artifact: ArtifactSource,
    to: Literal[
        "csv", "parquet", "npz", "images", "muse", "eaf", "boris", "webvtt", "traces", "bundle", "card"
    ] = "csv",
    *,
    out: PathText | None = None,
    clips: str | Sequence[str] | None = None,
    card: PathText | None = None,
    scores: ArtifactSource | None = None,
    task: str | None = None,
    dataset: str | None = None,
    dataset_option: Sequence[str] = (),
    videos: PathText | None = None,
    every: float | None = None,
    threshold: float | None = None,
    cache: PathText | None = None,
) -> Path:
    """Write an artifact's table to csv, parquet or npz, its crops to images, predictions or labels to annotators' files, or a model to a bundle or a card. Returns the path of what was written. Of features `PATH:layer_07` is one column, `PATH:mouth_opening` one named component. `to`: csv, parquet, npz, images, muse, eaf, boris, webvtt, traces, bundle or card. `out`: the file or folder (default: named after the artifact). `clips`: only these. `card`: to bundle, the card as it was edited. `scores`: to bundle or card, what `evaluate` returned of the model's predictions. To eaf, boris, webvtt or traces `artifact` may be a CSV of labels as well, or with `dataset` that data set's root; `task`: what it is of; `videos`: the folder of the clips' media; `every`: seconds that values are averaged over (0: every row); `threshold`: what is at or above it is annotated. Raises UsageError."""

def analyze(
    media: MediaSource | None = None,
    *,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    allow_outside: bool = False,
    model: ArtifactSource | Sequence[ArtifactSource] | str = (),
    out: PathText,
    fps: float | Literal["native"] = 5.0,
    face: Literal["largest", "confident", "longest", "nearest", "left", "right", "all"] = "largest",
    detector: str = "blazeface",
    detect_every: int = 1,
    vad: Literal["none", "silero", "energy"] = "none",
    task: str | None = None,
    smooth: Literal["hamming", "box", "median", "gaussian"] | Literal["none"] | None = None,
    half_width: float | None = None,
    option: Sequence[str] | Mapping[str, Any] = (),
    weights: PathText = "auto",
    threshold: float = 0.5,
    gap: float = 0.5,
    figures: bool = True,
    report: bool = True,
    workers: int = 0,
    progress: bool | None = None,
    rehash: bool = False,
    retry_failed: bool = False,
    device: str = "auto",
    cache: PathText | None = None,
) -> AnalysisResult:
    """Score the videos given by published models: tables, a summary and pictures, without labels.

    Faces are found once for all models that see, sound is decoded once for those that hear. Everything is cached: the
    same line goes on after an interrupt, and writes again only what changed. A score says how an expression looks, not
    what a person feels.

    Examples:

        ak.analyze("video.mp4", out="results")
        ak.analyze("interviews/", face="all", out="results")
        ak.analyze("talk.mp4", model="mini-xception", task="expr", threshold=0.7, out="results")

    Parameters:

        media: video or audio files, a folder, a manifest CSV, or - (paths on stdin)
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        allow_outside: a manifest may name media outside its own directory
        model: a published model (affectkit list models), what train-head or finetune printed, or a
            bundle file; repeatable  [default: mini-xception]
        out: the folder for the results
        fps: frames a second that are looked at, or native
        face: which face a clip is about; all: each of them
        detector: what finds faces (affectkit list detectors)
        detect_every: detect on every k-th of these frames, interpolate between
        vad: what finds speech: models that hear score speech alone, and tables say where it is
        task: scores of this task, where a model's names fit [default: all that it scores]
        smooth: hamming, box, median or gaussian window over the raw scores, or none [default: hamming;
            of what was trained here what train-head chose]
        half_width: seconds that the window reaches to either side [default: 0.5]
        option: an option of the model, key=value, or MODEL.key=value (repeatable)
        weights: the model's weights: auto, or a file
        threshold: an episode: a score is so high or higher
        gap: gaps shorter than this many seconds don't end an episode
        figures: draw curves and an overview (extra figures)
        report: write a page with the videos' curves, report/index.html (extra report)
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        rehash: digest every source again instead of trusting size and time
        retry_failed: try the clips again that failed before
        device: auto, cpu, cuda or cuda:N
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
    """

def compare(
    predictions: TableSource | Sequence[TableSource],
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    task: str,
    split: str | None = None,
    rows: Literal["labels", "predictions"] | None = None,
    rate: float | None = None,
    label_pooling: Literal["midpoint", "mean", "mode"] = "midpoint",
    missing: Literal["drop", "hold"] = "drop",
    by: Literal["clip", "subject"] = "clip",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    reference: Literal["first", "best"] = "first",
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> ScoreReport:
    """Lay prediction sets side by side and say which differences are beyond noise.

    All are scored on the rows that every set has; differences are drawn clip by clip, the same clips for both.

    Examples:

        ak.compare([video, audio, fused], labels="va.csv", task="va")
        ak.compare(["a.csv", "b.csv", "c.csv"], labels="expr.csv", task="expr", reference="best")

    Parameters:

        predictions: two or more prediction artifacts or CSV files
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        task: a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file
        split: train, val or test (default: test, else val)
        rows: score at the labels' rows, predictions interpolated, or at the predictions' own [default:
            labels; predictions with --label-pooling]
        rate: score at this many rows a second instead
        label_pooling: the label of a row: midpoint, mean or mode
        missing: rows without a score: leave out, or hold the clip's nearest one in time
        by: what intervals draw together: all rows of a clip, or of a subject
        draws: bootstrap draws of intervals and differences
        level: how often an interval holds the truth
        seed: seed of the draws
        reference: what the others are compared with: the first set, or the best by the task's metric
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def embed(
    artifact: ArtifactSource,
    *,
    clips: str | Sequence[str] | None = None,
    backbone: PluginSource | None = None,
    option: Sequence[str] | Mapping[str, Any] = (),
    output: Literal["embedding", "scores"] = "embedding",
    weights: PathText = "auto",
    crops_are: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    window: float | Literal["clip"] | None = None,
    hop: float | None = None,
    min_window: float | None = None,
    padding: Literal["zero", "none"] | None = None,
    device: str = "auto",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    batch_size: int | None = None,
    channels_last: bool = False,
    compile: bool = False,
    workers: int = 0,
    progress: bool | None = None,
    retry_failed: bool = False,
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> FeatureTable:
    """Run a frozen backbone over cached crops or waveforms and keep the embeddings.

    Examples:

        ak.embed(faces, backbone="resnet50.tv_in1k")
        ak.embed(faces, backbone="vgg16", option={"layer": "fc2"}, dtype="float16")
        ak.embed(faces, backbone="efficientnet-lite0", device="cuda", precision="bfloat16")
        ak.embed(audio, backbone="wav2vec2", option={"model": "microsoft/wavlm-base", "layers": "6,9"}, window=4, hop=2)
        ak.embed(audio, backbone="deepspectrum", option={"net": "vgg16.tv_in1k", "net.layer": "fc2"}, window=1, hop=0.5)

    Parameters:

        artifact: what extract faces or extract audio printed
        clips: only these clips: a file of ids, or a pattern like 'subject1/*'
        backbone: a plugin (affectkit list backbones), any timm model by name, or FILE.py:CLASS; none
            for a fine-tuned network
        option: a backbone option, key=value (repeatable)
        output: of a published model (affectkit list models): its embedding, or its own scores
        weights: auto, a file, random, or what finetune printed
        crops_are: for a network that wants a certain crop, of folders of crops: margin=0.2,shape=square
            (or letterbox), aligned, or matching (as it wants them)
        dtype: how features are stored
        window: speech: window in seconds, or clip: one over all of the clip's sound [default: 4]
        hop: speech: seconds between windows [default: half]
        min_window: speech: the least sound that a window may hold, but for a clip's only one [default:
            half a window]
        padding: speech: fill a clip's last windows with zeros, or not [default: the backbone's]
        device: auto, cpu, cuda or cuda:N
        precision: arithmetic of the forward pass
        batch_size: fixed batch shape of the backbone [default: 32 crops or 8 windows of speech]
        channels_last: NHWC memory format
        compile: torch.compile the model
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        retry_failed: try the clips again that failed before
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def evaluate(
    predictions: TableSource,
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    against: TableSource | None = None,
    task: str,
    split: str | None = None,
    rows: Literal["labels", "predictions"] | None = None,
    rate: float | None = None,
    label_pooling: Literal["midpoint", "mean", "mode"] = "midpoint",
    missing: Literal["drop", "hold"] = "drop",
    by: Literal["clip", "subject"] = "clip",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    figures: bool = False,
    draw_clips: str | None = None,
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> ScoreReport:
    """Score predictions against labels, on split test if there is one, else on val.

    Every pooled score has an interval, from drawing whole clips with replacement.

    Examples:

        ak.evaluate(fused, labels="va.csv", task="va")
        ak.evaluate(fused, labels="va.csv", task="va", against=p, by="subject")
        ak.evaluate(p, labels="expr.csv", task="expr", figures=True, draw_clips="video1*")

    Parameters:

        predictions: a prediction artifact or a CSV file
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        against: another prediction set: the difference to it, with an interval
        task: a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file
        split: train, val or test (default: test, else val)
        rows: score at the labels' rows, predictions interpolated, or at the predictions' own [default:
            labels; predictions with --label-pooling]
        rate: score at this many rows a second instead
        label_pooling: the label of a row: midpoint, mean or mode
        missing: rows without a score: leave out, or hold the clip's nearest one in time
        by: what intervals draw together: all rows of a clip, or of a subject
        draws: bootstrap draws of the intervals; 0: no intervals
        level: how often an interval holds the truth
        seed: seed of the draws
        figures: draw figures into the artifact's folder figures/, PNG and SVG
        draw_clips: with --figures, the clips to draw over time: a pattern [default: best, median,
            worst]
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def extract_audio(
    media: MediaSource | None = None,
    *,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    allow_outside: bool = False,
    mouth: ArtifactSource | DataFrame | None = None,
    sampling_rate: int = 16000,
    vad: Literal["none", "silero", "energy", "mouth"] = "none",
    vad_threshold: float = 0.5,
    top_db: float = 30,
    denoise: Literal["none", "spectral-gate"] = "none",
    on_truncated: Literal["keep", "fail"] = "keep",
    workers: int = 0,
    progress: bool | None = None,
    rehash: bool = False,
    retry_failed: bool = False,
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> SoundTable:
    """Decode the sound of each clip: mono, at one sampling rate, and where there is speech in it.

    Every stretch of speech is a row, in seconds on the clock of the clip's face rows; without --vad the one row is all
    of the sound.

    Examples:

        ak.extract_audio("clips/", vad="silero")
        ak.extract_audio("talk.wav", vad="energy", top_db=25, denoise="spectral-gate")
        ak.extract_audio("clips/", vad="mouth", mouth="$MESH:mouth_opening")
        ak.extract_audio("clips/", vad="mouth", mouth="openings.csv")

    Parameters:

        media: video or audio files, a folder, a manifest CSV, or - (paths on stdin)
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        allow_outside: a manifest may name media outside its own directory
        mouth: for --vad mouth: a component of features (face-mesh: mouth_opening), or a CSV of mouth
            openings
        sampling_rate: samples a second of the waveforms (Hz)
        vad: what finds speech: silero, energy, or the mouth's opening (with --mouth); none: all is kept
        vad_threshold: silero: probability from which on it is speech
        top_db: energy: speech is at most so far below the loudest (dB)
        denoise: noise reduction, before speech is looked for
        on_truncated: a damaged file: keep what decodes and mark the clip partial, or fail
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        rehash: digest every source again instead of trusting size and time
        retry_failed: try the clips again that failed before
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def extract_faces(
    media: MediaSource | None = None,
    *,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    allow_outside: bool = False,
    videos: PathText | None = None,
    source_fps: float | TableSource | None = None,
    first_frame: int = 1,
    max_gap: float = 2.0,
    min_iou: float = 0.3,
    max_distance: float = 1.0,
    min_length: int = 3,
    margin: str = "0.2",
    shape: Literal["square", "letterbox"] = "square",
    align: bool = False,
    size: int = 224,
    format: Literal["jpeg", "png"] = "jpeg",
    quality: int = 95,
    fps: float | Literal["native"] | None = None,
    frames: int | None = None,
    face: Literal["largest", "confident", "longest", "nearest", "left", "right", "all"] = "largest",
    detector: PluginSource = "retinaface",
    option: Sequence[str] | Mapping[str, Any] = (),
    weights: PathText = "auto",
    detect_every: int = 1,
    on_truncated: Literal["keep", "fail"] = "keep",
    workers: int = 0,
    progress: bool | None = None,
    rehash: bool = False,
    retry_failed: bool = False,
    device: str = "auto",
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> FaceTable:
    """Find, track and crop the face of each clip.

    Every sampled frame is a row; a frame without a face stays as a row with valid = 0.

    Examples:

        ak.extract_faces("clips/", detector="centerface", fps=5)
        ak.extract_faces("talk.mp4", frames=32, face="nearest", margin="10px", shape="letterbox")
        ak.extract_faces("cropped_aligned/", videos="videos/")
        ak.extract_faces(dataset="affwild2", root="AffWild2/", fps=5)

    Parameters:

        media: media files, a folder, folders of crops, a manifest CSV, or - (paths on stdin)
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        allow_outside: a manifest may name media outside its own directory
        videos: for folders of crops: the videos their times come from
        source_fps: for folders of crops: their rate, recorded as assumed, or a table clip,fps
        first_frame: for folders of crops: the number of a clip's first frame in file names
        max_gap: seconds a face may be missing before its track ends
        min_iou: overlap (IoU) from which two boxes are the same face
        max_distance: else: how far a face may move in half a second, in box sides
        min_length: --face all: frames that a track must have
        margin: added on each side: a fraction of the box's side (0.2), or pixels (10px)
        shape: square: the box grown to a square; letterbox: the box itself, padded with black
        align: rotate and scale eyes, nose and mouth to ArcFace's places (margin and shape unused)
        size: side of the crop in pixels
        format: encoding of the crops; png is lossless and slow
        quality: JPEG quality
        fps: frames a second, or native [default: 5; of folders of crops, native]
        frames: or: frames a clip, spread evenly
        face: which face a clip is about
        detector: a detector (affectkit list detectors)
        option: an option of the detector, key=value (repeatable)
        weights: the detector's weights: auto or a file
        detect_every: detect on every k-th sampled frame, interpolate between
        on_truncated: a damaged file: keep what decodes and mark the clip partial, or fail
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        rehash: digest every source again instead of trusting size and time
        retry_failed: try the clips again that failed before
        device: auto, cpu, cuda or cuda:N
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def finetune(
    artifact: ArtifactSource,
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    aux: Sequence[str | tuple[ArtifactSource, LabelSource, str]] = (),
    tensorboard: PathText | None = None,
    task: str,
    network: PluginSource = "static",
    option: Sequence[str] | Mapping[str, Any] = (),
    weights: PathText = "auto",
    label_pooling: Literal["midpoint", "mean", "mode"] = "midpoint",
    seed: int = 0,
    split_by: Literal["clip", "subject"] = "clip",
    val_fraction: float | None = None,
    workers: int = 0,
    progress: bool | None = None,
    device: str = "auto",
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> TrainedModel:
    """Train a backbone and its head together, on cached crops or waveforms: on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best so far can be used.
    `embed --weights` and `predict` take what is printed. On several GPUs, torchrun starts a process for each.

    Examples:

        ak.finetune(faces, labels="expr.csv", task="expr", option={"preset": "sun", "backbone": "tf_efficientnet_b1.in1k"})
        ak.finetune(faces, labels="va.csv", task="va", option={"loss": "log-cosh", "unfreeze_epochs": 2, "layer_decay": 0.85})
        ak.finetune(faces, labels="expr.csv", task="expr", option={"batch_size": 16, "accumulate": 4, "precision": "bfloat16"})
        ak.finetune(sound, labels="va.csv", task="va", network="speech", option={"trainable_blocks": 4})
        ak.finetune(faces, labels="ce.csv", task="compound", network="pyramid", aux=[(dfew, "va.csv", "dfew-va.toml")])

    Parameters:

        artifact: what extract faces printed, or extract audio for a network that listens
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        aux: another task to learn along, from clips of its own (repeatable)
        tensorboard: write training curves there for TensorBoard
        task: a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file
        network: a network (affectkit list networks)
        option: an option of the network, key=value (repeatable)
        weights: what training starts from: auto, a file, or random
        label_pooling: a crop's or a score's label
        seed: of all that is drawn
        split_by: what --val-fraction keeps together
        val_fraction: validation share where no table says the split
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        device: auto, cpu, cuda or cuda:N
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def functionals(
    features: ArtifactSource,
    *,
    clips: str | Sequence[str] | None = None,
    face_quality: ArtifactSource | None = None,
    min_face_size: float | None = None,
    max_yaw: float | None = None,
    min_sharpness: float | None = None,
    set: Literal["sun-visual", "sun-audio", "fun", "all"] | None = None,
    functional: Sequence[str] = (),
    window: float | Literal["clip"] = 4.0,
    hop: float | None = None,
    column: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    progress: bool | None = None,
    retry_failed: bool = False,
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> FeatureTable:
    """Summarise features over windows: means, deviations, extremes, fitted curves.

    Windows begin every hop; the last one ends with the clip. Slope and curvature are per second and per second
    squared, the offset is the fitted line at the window's start. Invalid rows do not count.

    Examples:

        ak.functionals(features, set="sun-visual", window=4, hop=2)
        ak.functionals(features, functional=["mean", "slope"], window="clip")
        ak.functionals("$LAYERS:layer_07", set="sun-audio")

    Parameters:

        features: what embed printed; of several layers one: PATH:layer_07
        clips: only these clips: a file of ids, or a pattern like 'subject1/*'
        face_quality: face-mesh features of the same clips, for --min-face-size, --max-yaw and --min-
            sharpness
        min_face_size: rows with a smaller face are read as rows without one (pixels a side, in the
            video)
        max_yaw: rows with a head that is turned further are read as rows without a face (degrees)
        min_sharpness: rows with a face more blurred are read as rows without one (0.02 is soft, 0.1
            crisp)
        set: sun-visual: mean, max, min; sun-audio: mean, std; fun: mean, std, curvature, slope, offset
            [default: fun]
        functional: instead of a set (repeatable): mean, std, min, max, range, rms, first, last, slope,
            offset, curvature, delta-mean
        window: seconds of a window, or clip: one over the whole clip
        hop: seconds between windows [default: half a window]
        column: the layer or named component to take (or FEATURES:layer, FEATURES:component)
        dtype: how functionals are stored
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        retry_failed: try the clips again that failed before
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def fuse(
    predictions: TableSource | Sequence[TableSource],
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    task: str,
    method: PluginSource = "dwf",
    option: Sequence[str] | Mapping[str, Any] = (),
    rate: float | None = None,
    gate: float | Literal["none", "auto"] = "none",
    beside: Sequence[str] = (),
    folds: int = 5,
    by: Literal["clip", "subject"] = "clip",
    seed: int = 0,
    progress: bool | None = None,
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> PredictionTable:
    """Combine the predictions of several models.

    Weights are fitted on the validation clips only. The scores printed are of the test clips where they have labels,
    else of folds of the validation clips that were not fitted on; those on the rows fitted on stand beside them.

    Examples:

        ak.fuse([a, b], labels="va.csv", task="va", method="dwf", option={"draws": 2000})
        ak.fuse(["a.csv", "b.csv", "c.csv"], labels="expr.csv", task="expr", gate="auto", beside=["nnls", "stacking"])
        ak.fuse([faces_5fps, speech], labels="va.csv", task="va", rate=30)

    Parameters:

        predictions: two or more prediction artifacts or CSV files
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        task: a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file
        method: a fuser (affectkit list fusers)
        option: an option of the fuser, key=value (repeatable)
        rate: rows a second of the fusion [default: those of the densest set, clip by clip]
        gate: leave out a model's row above this entropy (nats); auto: chosen on val
        beside: another fuser to score beside it (repeatable)
        folds: folds of the validation clips for scores that nothing was fitted on
        by: what folds and intervals keep together
        seed: seed of everything random
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def import_features(
    source: PathText,
    *,
    videos: PathText | None = None,
    clips: str | Sequence[str] | None = None,
    style: Literal["clips", "muse", "affwild2"] = "clips",
    name: str,
    fps: float | str | None = None,
    first_frame: int = 1,
    time_unit: Literal["s", "ms"] | None = None,
    array: str | None = None,
    valid: str = "valid",
    leave_out: Sequence[str] = (),
    dtype: Literal["float32", "float16"] = "float32",
    workers: int = 0,
    progress: bool | None = None,
    rehash: bool = False,
    retry_failed: bool = False,
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> FeatureTable:
    """Take over features that were made elsewhere, one file a clip.

    A CSV has a header; its columns start and end, or timestamp, say when its rows are, or with --videos or --fps the
    column frame; all others are features. Rows with an empty or NaN cell are kept as rows that do not count. `.npz` and
    torch files may hold the times as arrays of those names. Nothing is unpickled.

    Examples:

        ak.import_features("openface/", name="openface", valid="success", leave_out=["face_id", "confidence"])
        ak.import_features("feats/egemaps/", style="muse", name="egemaps")
        ak.import_features("embeddings/", style="affwild2", name="mae", videos="videos/")

    Parameters:

        source: a folder with one file a clip: .csv, .npy, .npz, .pt, .safetensors
        videos: folder of the videos that give rows their times
        clips: only these clips: a file of ids, or a pattern like 'subject1/*'
        style: clips: times in columns, else --videos or --fps; muse: two metadata columns first, the
            first one the time in ms; affwild2: a row a frame, times by --videos or --fps
        name: what the features are called
        fps: rows a second, or a table clip,fps, where files give no times or number frames
        first_frame: the number of a clip's first frame in the column frame
        time_unit: of the columns start, end, timestamp [default: s; ms for style muse]
        array: the array with the features, where a file has several
        valid: the column that says which rows count, if there is one
        leave_out: a column that is no feature (repeatable)
        dtype: how features are stored
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        rehash: digest every source again instead of trusting size and time
        retry_failed: try the clips again that failed before
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def label_lag(
    predictions: TableSource,
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    task: str,
    least: float = -1.0,
    most: float = 6.0,
    step: float = 0.1,
    draws: int = 1000,
    seed: int = 0,
    figures: bool = False,
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> ScoreReport:
    """Estimate how much later than the face the labels are, by correlation against shift.

    Predictions that never saw these labels (a published model's) are correlated with the labels so many seconds later;
    the lag is where that is highest. Clips of split test are never looked at: what `--label-lag` is set to by them
    would be a leak.

    Examples:

        ak.label_lag(p, labels="va.csv", task="va", figures=True)

    Parameters:

        predictions: a prediction artifact or a CSV file
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        task: a built-in task or a TOML file
        least: smallest shift (s)
        most: largest shift (s)
        step: seconds between shifts, and between moments
        draws: bootstrap draws of clips for the interval; 0: none
        seed: seed of the draws
        figures: draw the curves of all clips and the pooled one, PNG and SVG
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def overlay(
    what: TableSource | Sequence[TableSource],
    *,
    out: PathText,
    videos: PathText | None = None,
    clips: str | Sequence[str] | None = None,
    style: Literal["boxes", "mesh", "bars", "circumplex"] = "boxes",
    anonymise: Literal["blur", "box", "mesh-only"] | None = None,
    hide_margin: float = 0.4,
    hold: float = 1.0,
    detect: bool = True,
    check_hidden: bool = False,
    quality: int = 75,
    sound: bool = True,
    workers: int = 0,
    progress: bool | None = None,
    rehash: bool = False,
    device: str = "auto",
    cache: PathText | None = None,
) -> WrittenFile:
    """Draw faces and scores on the videos: an MP4 a clip, with its sound and exact times.

    Every frame is shown when the video shows it, and the sound is the video's own. A score is drawn only where a row
    has one. With --anonymise faces are hidden, which needs every face to be known (extract faces --face all); they are
    looked for in every frame once more, and with --check-hidden in the result.

    Examples:

        ak.overlay(p, out="videos")
        ak.overlay([faces, p], style="circumplex", clips="day1/*", out="videos")
        ak.overlay(faces, anonymise="blur", check_hidden=True, out="videos")

    Parameters:

        what: faces, predictions, features of backbone face-mesh, or the folder of analyze; one or more
        out: the folder for the videos
        videos: where the videos are now, if they have moved
        clips: only these clips: a file of ids, or a pattern like 'subject1/*'
        style: faces in boxes with the strongest class; their mesh; bars of all scores; or the
            circumplex
        anonymise: no face is seen: blurred, under a plain box, or nothing of the picture but landmarks
            and mesh
        hide_margin: hidden around a face: times its longer side; more where it moves fast
        hold: seconds that a face is hidden before it is first found and after the last time
        detect: to hide faces: look for them in every frame as well, with the detector that found those
            known
        check_hidden: run that detector on the result as well, and keep none in which it finds a face
        quality: quality of the pictures: higher is better, and larger
        sound: with the video's sound
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        rehash: digest every source again instead of trusting size and time
        device: auto, cpu, cuda or cuda:N
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
    """

def plot(
    predictions: TableSource | Sequence[TableSource] | None = None,
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    clips: str | Sequence[str] | None = None,
    out: PathText,
    task: str | None = None,
    kind: Sequence[str] = (),
    split: str | None = None,
    by: Literal["clip", "subject"] | None = None,
    level: float = 0.95,
    format: str = "png",
    cache: PathText | None = None,
) -> WrittenFile:
    """Draw predictions and labels, for print: timelines, circumplex, subjects, reliability, confusion.

    Figures are as wide as a column or a page of print, in colours that everybody can tell apart. With labels and
    predictions the clips are those that evaluate scores. The same line writes the same bytes.

    Examples:

        ak.plot(p, out="figures")
        ak.plot([video, fused], labels="va.csv", task="va", format="png,pdf", out="figures")
        ak.plot(labels="va.csv", task="va", kind=["circumplex"], out="figures")

    Parameters:

        predictions: prediction artifacts or CSV files; none: the labels alone are drawn
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        clips: only these clips: a file of ids, or a pattern like 'subject1/*'
        out: the folder for the figures
        task: a task (affectkit list tasks), or a TOML file; needed with labels [default: what the
            predictions are of]
        kind: timeline, circumplex, subjects, reliability or confusion (repeatable) [default: all that
            fit the task and what is given]
        split: train, val or test (default: with labels and predictions test, else val; otherwise all)
        by: what is one line of subjects: clip or subject [default: subject, where every clip has one]
        level: how often an interval holds the truth
        format: png, svg, pdf, or several: png,svg,pdf
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
    """

def predict(
    head: ArtifactSource,
    inputs: ArtifactSource | Sequence[ArtifactSource] | MediaSource,
    *,
    allow_outside: bool = False,
    face_quality: ArtifactSource | None = None,
    at: TableSource | None = None,
    clips: str | Sequence[str] | None = None,
    weights_of: Mapping[str, PathText] | None = None,
    smooth: Literal["hamming", "box", "median", "gaussian"] | Literal["none"] | None = None,
    half_width: float | None = None,
    rate: float | None = None,
    reach: float | None = None,
    max_gap: float | None = None,
    task: str | None = None,
    option: Sequence[str] | Mapping[str, Any] = (),
    weights: PathText = "auto",
    window: float | Literal["clip"] | None = None,
    hop: float | None = None,
    crops_are: str | None = None,
    workers: int = 0,
    progress: bool | None = None,
    rehash: bool = False,
    retry_failed: bool = False,
    device: str = "auto",
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> PredictionTable:
    """Predict for every clip of the features given, or for new media in one go.

    Examples:

        ak.predict(head, features)
        ak.predict(head, "new_video.mp4")
        ak.predict("mini-xception", "new_video.mp4", task="expr")
        ak.predict(head, features, at="test_frames.csv", smooth="hamming", half_width=0.5)
        ak.predict(finetuned, faces, smooth="hamming", half_width=0.5)

    Parameters:

        head: what train-head or finetune printed, a bundle file, or a published model (affectkit list
            models)
        inputs: the features (of a network or a published model the crops or sound), or media
        allow_outside: a manifest may name media outside its own directory
        face_quality: for a head that was trained with quality gates: face-mesh features of these clips
            [default: those that it was trained with]
        at: CSV clip,start,end (a label table, say): predict its rows, interpolated
        clips: only these clips: a file of ids, or a pattern like 'subject1/*'
        weights_of: for media: NAME=PATH of a detector or backbone whose weight file has moved
        smooth: hamming, box, median or gaussian window over the raw scores, or none [default: what
            train-head chose on validation; none for a published model]
        half_width: seconds that the window reaches to either side
        rate: predictions a second, interpolated (default: one a row of the features)
        reach: no score farther than this many seconds from a face or speech [default: 1]
        max_gap: with --at or --rate: nor farther than this from any row that has a score [default: as
            far as --reach]
        task: published models: scores of this task, where its names fit [default: all that it scores]
        option: published models: an option, key=value (repeatable)
        weights: published models: auto, or a file
        window: published models that hear: seconds a score is about, or clip [default: 4]
        hop: published models that hear: seconds between scores [default: half]
        crops_are: published models, of folders of crops: margin=0.2,shape=square (or letterbox),
            aligned, or matching (as the model wants them)
        workers: decoding threads (0: one per core)
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        rehash: digest every source again instead of trusting size and time
        retry_failed: try the clips again that failed before
        device: auto, cpu, cuda or cuda:N
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

def report(
    what: TableSource | Sequence[TableSource],
    *,
    labels: TableSource | None = None,
    manifest: TableSource | None = None,
    out: PathText,
    task: str | None = None,
    media: Literal["none", "thumbnails", "link", "copy"] = "thumbnails",
    by: Sequence[str] = (),
    title: str | None = None,
    single_file: bool = False,
    progress: bool | None = None,
    cache: PathText | None = None,
) -> WrittenFile:
    """Write a page that shows predictions and scores beside the moving picture, and opens anywhere.

    The page loads nothing from anywhere. A clip's curves follow its video or pictures, and clicking a curve seeks. Rows
    of each clip lie beside the page as they are stored, and are read when the clip is opened. The same line writes
    again only what changed.

    Examples:

        ak.report(p, out="page")
        ak.report([video, audio, fused, scores], labels="va.csv", media="link", out="page")
        ak.report("results", media="copy", out="page")

    Parameters:

        what: predictions, scores, faces or sound; the folder of an analysis or a run; a CSV of
            predictions
        labels: CSV: clip[,start,end],<targets>, drawn beside the curves
        manifest: CSV: clip,<columns>, for --by
        out: the folder for the page
        task: the task of labels and of tables of predictions [default: that of the scores]
        media: none: no picture of anybody; thumbnails: small pictures and crops in the page; link:
            videos where they lie; copy: videos beside the page
        by: slice scores by this column of --manifest, split or subject (repeatable)
        title: the page's title [default: what it is of]
        single_file: all in one file, of at most 64 MiB, to send to somebody
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
    """

def submit(
    predictions: TableSource | None = None,
    *,
    template: TableSource,
    out: PathText | None = None,
    videos: PathText | None = None,
    check: TableSource | None = None,
    format: Literal["affwild2-va", "affwild2-expr", "affwild2-au", "cexpr", "hume-reaction"],
    fps: float | str | None = None,
    missing: Literal["refuse", "hold"] = "refuse",
    out_of_range: Literal["refuse", "clip"] = "refuse",
    threshold: float = 0.5,
    digits: int = 6,
    cache: PathText | None = None,
) -> WrittenFile:
    """Write predictions as the file that a challenge takes, or check one.

    A frame gets the scores at the middle of the time that it is shown. Nothing is written where a row of the template
    has no prediction or a value is out of range (exit 2). --check ends with 3 where the file is wrong.

    Examples:

        ak.submit(p, format="affwild2-va", template="va_template.txt", videos="videos/", out="va.txt")
        ak.submit(p, format="hume-reaction", template="test.csv", out="reactions.csv")
        ak.submit(check="va.txt", format="affwild2-va", template="va_template.txt")

    Parameters:

        predictions: a prediction artifact or a CSV file
        template: the organisers' file: its rows, in its order, are written
        out: the file to write
        videos: folder of the videos that give frames their times
        check: instead: say what is wrong with this file, made anywhere
        format: the challenge whose file it is
        fps: frames a second of all videos, or a table clip,fps, which are then assumed
        missing: rows without a score (no face): refuse, or hold the clip's nearest one in time
        out_of_range: values beyond the format's range: refuse, or cut them to it
        threshold: probability from which an action unit is present
        digits: decimals of values
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
    """

@overload
def train_head(
    features: ArtifactSource | Sequence[ArtifactSource],
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    aux: Sequence[str | tuple[ArtifactSource, LabelSource, str]] = (),
    face_quality: ArtifactSource | None = None,
    min_face_size: float | None = None,
    max_yaw: float | None = None,
    min_sharpness: float | None = None,
    folds: None = None,
    tune: int | None = None,
    search: Sequence[str] = (),
    tensorboard: PathText | None = None,
    task: str,
    head: PluginSource = "transformer",
    option: Sequence[str] | Mapping[str, Any] = (),
    label_pooling: Literal["midpoint", "mean", "mode"] = "midpoint",
    seed: int = 0,
    seeds: int = 1,
    split_by: Literal["clip", "subject"] = "clip",
    val_fraction: float | None = None,
    smooth: Literal["hamming", "box", "median", "gaussian"] | Literal["none"] = "none",
    half_width: float | Literal["auto"] = "auto",
    refit: bool | None = None,
    progress: bool | None = None,
    device: str = "auto",
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> TrainedModel:
    """Train a light head on cached features: fitted on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best head so far can be used.

    Examples:

        ak.train_head(features, labels="va.csv", task="va", head="transformer")
        ak.train_head(features, labels="eri.csv", task="eri", head="lstm", option={"hidden": 64}, seeds=3)
        ak.train_head(features, labels="expr.csv", task="expr", aux=[(features, "va.csv", "va")])
        ak.train_head(features, labels="dfew.csv", task="dfew", head="gru", folds=5, split_by="subject")
        ak.train_head(features, labels="va.csv", task="va", tune=3, search=["window=2,4,8"], smooth="hamming")

    Parameters:

        features: feature artifacts, or PATH:layer_07 for one of several layers
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        aux: another task to learn along, from clips of its own (repeatable)
        face_quality: face-mesh features of the same clips, for --min-face-size, --max-yaw and --min-
            sharpness
        min_face_size: rows with a smaller face are read as rows without one (pixels a side, in the
            video)
        max_yaw: rows with a head that is turned further are read as rows without a face (degrees)
        min_sharpness: rows with a face more blurred are read as rows without one (0.02 is soft, 0.1
            crisp)
        folds: cross-validate instead: every clip is predicted by the head of the fold it is out of
        tune: search the head's options on the validation clips first, N trials; -o fixes an option
        search: with --tune, what to search: low..high[:log] or a,b,c (all lists: every combination;
            repeatable)
        tensorboard: write training curves there for TensorBoard
        task: a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file
        head: a head (affectkit list heads)
        option: an option of the head, key=value (repeatable)
        label_pooling: a feature row's label
        seed: first seed
        seeds: heads to train, from consecutive seeds; predictions are averaged
        split_by: what --val-fraction keeps together
        val_fraction: validation share where no table says the split
        smooth: none, or a hamming, box, median or gaussian window over the raw scores of predictions in
            time, before softmax
        half_width: seconds that the window reaches to either side (auto: what is best on validation)
        refit: fit the chosen head again on train and val clips; val clips are still predicted by the
            head from before [default: where it is fitted at once, without early stopping]
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        device: auto, cpu, cuda or cuda:N
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """

@overload
def train_head(
    features: ArtifactSource | Sequence[ArtifactSource],
    *,
    labels: LabelSource | None = None,
    dataset: str | None = None,
    root: PathText | None = None,
    dataset_option: Sequence[str] | Mapping[str, Any] = (),
    label_lag: float = 0.0,
    splits: TableSource | None = None,
    aux: Sequence[str | tuple[ArtifactSource, LabelSource, str]] = (),
    face_quality: ArtifactSource | None = None,
    min_face_size: float | None = None,
    max_yaw: float | None = None,
    min_sharpness: float | None = None,
    folds: int,
    tune: int | None = None,
    search: Sequence[str] = (),
    tensorboard: PathText | None = None,
    task: str,
    head: PluginSource = "transformer",
    option: Sequence[str] | Mapping[str, Any] = (),
    label_pooling: Literal["midpoint", "mean", "mode"] = "midpoint",
    seed: int = 0,
    seeds: int = 1,
    split_by: Literal["clip", "subject"] = "clip",
    val_fraction: float | None = None,
    smooth: Literal["hamming", "box", "median", "gaussian"] | Literal["none"] = "none",
    half_width: float | Literal["auto"] = "auto",
    refit: bool | None = None,
    progress: bool | None = None,
    device: str = "auto",
    cache: PathText | None = None,
    out: PathText | None = None,
    as_name: str | None = None,
) -> PredictionTable:
    """Train a light head on cached features: fitted on split train, selected on split val.

    Repeating the command goes on with a training that was interrupted; after Ctrl-C, the best head so far can be used.

    Examples:

        ak.train_head(features, labels="va.csv", task="va", head="transformer")
        ak.train_head(features, labels="eri.csv", task="eri", head="lstm", option={"hidden": 64}, seeds=3)
        ak.train_head(features, labels="expr.csv", task="expr", aux=[(features, "va.csv", "va")])
        ak.train_head(features, labels="dfew.csv", task="dfew", head="gru", folds=5, split_by="subject")
        ak.train_head(features, labels="va.csv", task="va", tune=3, search=["window=2,4,8"], smooth="hamming")

    Parameters:

        features: feature artifacts, or PATH:layer_07 for one of several layers
        labels: CSV: clip[,start,end][,split][,subject],<targets>
        dataset: a data set in its own layout (affectkit list datasets)
        root: where the data set lies
        dataset_option: an option of the data set's reader, key=value (repeatable)
        label_lag: labels come so many seconds late, as raters react: they are taken that much earlier
        splits: CSV clip,split that overrides the labels' and the manifest's splits
        aux: another task to learn along, from clips of its own (repeatable)
        face_quality: face-mesh features of the same clips, for --min-face-size, --max-yaw and --min-
            sharpness
        min_face_size: rows with a smaller face are read as rows without one (pixels a side, in the
            video)
        max_yaw: rows with a head that is turned further are read as rows without a face (degrees)
        min_sharpness: rows with a face more blurred are read as rows without one (0.02 is soft, 0.1
            crisp)
        folds: cross-validate instead: every clip is predicted by the head of the fold it is out of
        tune: search the head's options on the validation clips first, N trials; -o fixes an option
        search: with --tune, what to search: low..high[:log] or a,b,c (all lists: every combination;
            repeatable)
        tensorboard: write training curves there for TensorBoard
        task: a task (affectkit list tasks): va, expr, eri, compound, au, ..., or a TOML file
        head: a head (affectkit list heads)
        option: an option of the head, key=value (repeatable)
        label_pooling: a feature row's label
        seed: first seed
        seeds: heads to train, from consecutive seeds; predictions are averaged
        split_by: what --val-fraction keeps together
        val_fraction: validation share where no table says the split
        smooth: none, or a hamming, box, median or gaussian window over the raw scores of predictions in
            time, before softmax
        half_width: seconds that the window reaches to either side (auto: what is best on validation)
        refit: fit the chosen head again on train and val clips; val clips are still predicted by the
            head from before [default: where it is fitted at once, without early stopping]
        progress: progress and a summary on stderr: live on a terminal, else a line now and then
            [default: on]
        device: auto, cpu, cuda or cuda:N
        cache: cache folder (default: $AFFECTKIT_CACHE or .affectkit)
        out: name the artifact's folder by hand
        as_name: a name for what is made, which stands for its path
    """
