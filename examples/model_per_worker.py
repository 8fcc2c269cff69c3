"""A model that is loaded once in each worker, and a table that only two tasks may read at a time.

    fetch 0 .. fetch 5     at most two at once: limit="table"
       |          |
    score 0 .. score 5     on all cores, with the model of their worker
       |          |
         summary

Training takes much longer than scoring: so every worker does it once, before its first task, and leaves the model in
`cloaca.worker_state`. It follows from code alone, so all workers have the same.

    $ python examples/model_per_worker.py
    scored 60 texts: 23 positive, 11 negative, 26 neutral
    trained in as many processes as there are workers, or fewer: True
"""

import os

import cloaca

BATCHES, SIZE = 6, 10
GOOD, BAD = ("excellent", "quick", "friendly"), ("slow", "broken", "rude")
WORDS = (*GOOD, *BAD, "table", "delivery", "order")


def train_model():
    """Learn from texts whose scores are known how much each word counts: the slow part."""
    weights = dict.fromkeys(WORDS, 0.0)
    for _ in range(200):
        for number in range(len(WORDS) ** 2):
            text = (WORDS[number % len(WORDS)], WORDS[number // len(WORDS)])
            known = sum((word in GOOD) - (word in BAD) for word in text)
            error = known - sum(weights[word] for word in text)
            for word in text:
                weights[word] += 0.1 * error
    cloaca.worker_state.weights = weights


def fetch_task(batch):
    """The task that reads one batch of texts."""

    def fetch(context):
        texts = [[WORDS[(7 * n + k * (n + batch)) % len(WORDS)] for k in range(3)] for n in range(SIZE)]
        context[f"texts {batch}"] = texts

    return fetch


def score_task(batch):
    """The task that scores them, with the model of its worker."""

    def score(context):
        weights = cloaca.worker_state.weights
        context[f"scores {batch}"] = [round(sum(map(weights.get, text))) for text in context[f"texts {batch}"]]
        context[f"process {batch}"] = os.getpid()

    return score


with cloaca.WorkflowBuilder("reviews"):
    for batch in range(BATCHES):
        cloaca.task(id=f"fetch {batch}", limit="table")(fetch_task(batch))
        cloaca.task(id=f"score {batch}", dependencies=[f"fetch {batch}"])(score_task(batch))

    @cloaca.task(dependencies=[f"score {batch}" for batch in range(BATCHES)])
    def summary(context):
        """Count them."""
        scores = [score for batch in range(BATCHES) for score in context[f"scores {batch}"]]
        positive, negative = sum(score > 0 for score in scores), sum(score < 0 for score in scores)
        context["summary"] = (
            f"scored {len(scores)} texts: {positive} positive, {negative} negative, "
            f"{len(scores) - positive - negative} neutral"
        )


def main():
    """Run it."""
    with cloaca.DefaultRunner(workers=2, initializer=train_model, limits={"table": 2}) as runner:
        context = runner.execute("reviews").final_context
    print(context["summary"])
    processes = {context[f"process {batch}"] for batch in range(BATCHES)}
    print("trained in as many processes as there are workers, or fewer:", len(processes) <= 2)


if __name__ == "__main__":
    main()
