"""The registered model where it is loaded: MLflow keeps a copy of this file with its weights."""

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Detector(PythonModel):  # type: ignore[misc]  # to mypy the class is Any
    """Finds objects in images, given by path or URL."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights."""
        from ultralytics import YOLO

        self._model = YOLO(context.artifacts["weights"])

    def predict(self, model_input: list[str]) -> list[list[dict[str, float | str]]]:
        """The boxes of each image: name, class, confidence, and corners x1 to y2 in pixels."""
        found = self._model(model_input, verbose=False)
        return [[box | box.pop("box") for box in image.summary()] for image in found]


set_model(Detector())
