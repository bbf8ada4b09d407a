"""What regression measures."""

from refconv.task_measures import NUMBER, Measure, TaskMeasures

MEASURES = TaskMeasures(
    (
        Measure("mae", "MAE", long="mean absolute error", scale=NUMBER, larger_is_better=False),
        Measure("rmse", "RMSE", long="root mean squared error", scale=NUMBER, larger_is_better=False),
        Measure("r2", "R2", long="coefficient of determination (R2)", scale=NUMBER),
        Measure("loss", "loss", scale=NUMBER, larger_is_better=False),
    ),
    per_class="mean absolute error",
    samples="sample",
)
