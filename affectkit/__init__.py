"""Audio-visual affect recognition: staged, cached in HDF5, resumable.

    import affectkit as ak

    faces = ak.extract_faces("clips/", fps=5)
    features = ak.embed(faces, backbone="resnet50.tv_in1k")
    head = ak.train_head(features, labels="va.csv", task="va")
    ak.predict(head, "new.mp4").frame()

A function is one stage, with the names, defaults and errors of the command line; `ak.open(path)` opens what a command
printed. Nothing is imported until it is used: types and signatures are in `__init__.pyi`.
"""

__version__ = "0.1.0"

_ERRORS = ("AffectkitError", "UsageError", "MissingFile", "HostileFile", "MissingExtra", "Notice")
_OUTPUTS = ("StageOutput", "StageReport", "ScoreReport", "WrittenFile")
_TABLES = ("ClipTable", "FaceTable", "SoundTable", "FeatureTable", "PredictionTable")
_CLASSES = {
    "errors": _ERRORS, "api.analysis": ("AnalysisResult",), "api.clip_tables": _TABLES,
    "api.models": ("TrainedModel",), "api.outputs": _OUTPUTS,
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name.startswith("_"):
        raise AttributeError(f"module 'affectkit' has no attribute '{name}'")
    # By name, so that nothing which imports affectkit depends on all that is above it.
    from importlib import import_module

    module = next((module for module, names in _CLASSES.items() if name in names), None)
    if module is not None:
        value = getattr(import_module(f"affectkit.{module}"), name)
    elif name == "export":
        value = import_module("affectkit.api.exporting").export
    elif name == "open":
        value = import_module("affectkit.api.results").open_output
    elif name in import_module("affectkit.stages.catalogue").functions():
        value = import_module("affectkit.api.functions").function(name)
    else:
        raise AttributeError(f"module 'affectkit' has no attribute '{name}'")
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    from importlib import import_module

    functions = import_module("affectkit.stages.catalogue").functions()
    return sorted({*globals(), *sum(_CLASSES.values(), ()), *functions, "export", "open"})
