"""Small stand-ins for wandb, mlflow and trackio, with the calls that are made of them; they note what they are told."""

import types


def fake_wandb(told):
    class Run:
        def __init__(self, **given):
            self.id, self.summary = given["id"], told.setdefault("summary", {})
            told.setdefault("init", []).append(given)

        def define_metric(self, name, **how):
            told.setdefault("axes", []).append((name, how))

        def log(self, values):
            told.setdefault("log", []).append(values)

        def finish(self, exit_code):
            told.setdefault("finish", []).append(exit_code)

    return {"wandb": module("wandb", init=lambda **given: Run(**given), Settings=dict)}


def fake_mlflow(told):
    class Named:
        def __init__(self, *values):
            self.values = values

    class Client:
        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            told["experiment"] = name
            return "1"

        def create_run(self, experiment, run_name, tags):
            told.setdefault("runs", []).append((experiment, run_name, tags))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="run-1"))

        def update_run(self, run_id, status):
            told.setdefault("status", []).append((run_id, status))

        def log_batch(self, run_id, params=(), metrics=()):
            told.setdefault("params", []).extend(one.values for one in params)
            told.setdefault("log", []).extend((*one.values[:2], one.values[3]) for one in metrics)

        def log_dict(self, run_id, values, name):
            told["record"] = (name, values)

        def set_terminated(self, run_id, status):
            told.setdefault("status", []).append((run_id, status))

    return {
        "mlflow": module("mlflow", MlflowClient=Client),
        "mlflow.entities": module("mlflow.entities", Param=Named, Metric=Named),
    }


def fake_trackio(told):
    class Run:
        def log(self, values, step):
            told.setdefault("log", []).append((values, step))

    def init(project, **given):
        print("said on standard output")
        told.setdefault("init", []).append((project, given))
        return Run()

    finish = told.setdefault("finish", [])
    return {"trackio": module("trackio", init=init, finish=lambda: finish.append(True))}


FAKES = {"wandb": fake_wandb, "mlflow": fake_mlflow, "trackio": fake_trackio}


def module(name, **content):
    made = types.ModuleType(name)
    made.__dict__.update(content)
    made.__spec__ = types.SimpleNamespace(name=name)  # importlib looks whether there is one
    return made
