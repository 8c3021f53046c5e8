"""Plain Flower FedAvg with this project's model, data and local training, as its users write it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from wardround_client.contribution import blueprint
from wardround_client.examples import open_examples
from wardround_client.parameters import export_parameters, load_arrays
from wardround_client.training import StepRange, TrainingData, train_steps
from wardround_common.study import Study
from wardround_sim.virtual import VirtualFederation


def make_fedavg_client(federation: VirtualFederation) -> ClientApp:
    """A ClientApp that trains as the site of its partition id and sends the whole model."""
    app = ClientApp()
    app.train()(partial(_train, federation))
    return app


def make_fedavg_server(study: Study, *, on_round: Callable[[float], None]) -> ServerApp:
    """A ServerApp of FedAvg; ``on_round`` is told the seconds of each round."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _: Context) -> None:
        draft = blueprint(study)
        initial = ArrayRecord({name: Array(a) for name, a in draft.parameters.items()})
        strategy = _TimedFedAvg(len(study.members), on_round)
        strategy.start(grid, initial, num_rounds=study.algorithm.rounds)

    return app


class _TimedFedAvg(FedAvg):
    def __init__(self, sites: int, on_round: Callable[[float], None]) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=sites, min_available_nodes=sites)
        self._on_round, self._start_s = on_round, 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Starts the clock."""
        self._start_s = time.perf_counter()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Stops the clock."""
        found = super().aggregate_train(server_round, replies)
        self._on_round(time.perf_counter() - self._start_s)
        return found


def _train(federation: VirtualFederation, message: Message, context: Context) -> Message:
    study, place = federation.study, int(context.node_config["partition-id"])
    number = int(str(message.content.config_records["config"]["server-round"]))
    draft, count = blueprint(study), study.training.local_steps
    received = message.content.array_records["arrays"]
    load_arrays(draft.model, {name: array.numpy() for name, array in received.items()})
    examples = open_examples(federation.sites[place], study)
    data = TrainingData(gather=examples.gather, indices=examples.train, labels=examples.labels)
    steps = StepRange(first=(number - 1) * count, count=count, total=count * study.algorithm.rounds)
    seed = (study.seed, place, number)
    train_steps(draft.model, data, study.training, steps=steps, seed=seed, moments=None)
    trained = export_parameters(draft.model)
    arrays = ArrayRecord({name: Array(a) for name, a in trained.items()})
    metrics = MetricRecord({"num-examples": len(examples.train)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
