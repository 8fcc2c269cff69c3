"""The customers of a shop: 15 tasks with a diamond, a fan-out of four batches, and a chain of five analyses.

    load_customers ---> segment ---> premium_analysis, standard_analysis ---> segment_report ---+
                   |                                                                            |
                   +--> batch_1, batch_2, batch_3, batch_4 ---> combine_batches ----------------+
                                                                                                |
               final_report <--- forecast <--- lifetime_value <--- churn_analysis <--- revenue_analysis

What tasks print appears while they run, so lines of tasks that run side by side may change places.

    $ python examples/customer_analysis.py
    load_customers: generated 1,000 customers
    segment: split them into premium and standard
    batch_1: scored 250 customers
    batch_2: scored 250 customers
    batch_3: scored 250 customers
    batch_4: scored 250 customers
    premium_analysis: 202 customers paid 336,930 euros
    standard_analysis: 798 customers paid 314,559 euros
    combine_batches: 1,000 scores, 40.1 on average
    segment_report: 52% of the revenue comes from premium customers
    revenue_analysis: most revenue comes from Austria
    churn_analysis: 229 customers may leave
    lifetime_value: five years of 771 customers, and one of 229
    forecast: 22,358 euros less than this year
    final_report: written

    Completed: 15 tasks in ... s

    Customers                   1,000
    May leave                     229
    Premium share                 52%
    Revenue in Austria        197,492
    Revenue in Brazil         139,822
    Revenue in Canada         172,041
    Revenue in Denmark        142,134
    Revenue next year         629,131
    Lifetime value          3,078,581
"""

import argparse
import random

import cloaca

BATCHES = 4
COUNTRIES = ("Austria", "Brazil", "Canada", "Denmark")


def generate_customer(number, rng):
    """One customer, with the amounts of a year's orders in whole euros."""
    tier = rng.choices(["premium", "standard"], weights=[1, 4])[0]
    largest = 500 if tier == "premium" else 120
    return {
        "id": number,
        "tier": tier,
        "country": rng.choice(COUNTRIES),
        "idle_days": rng.randint(0, 90),
        "orders": [rng.randint(5, largest) for _ in range(rng.randint(1, 12))],
    }


def revenue_of(customers):
    """What customers paid in the year."""
    return sum(sum(customer["orders"]) for customer in customers)


def score(customer):
    """Up to 100 points: for buying often, for buying much, and for having bought lately."""
    often = min(3 * len(customer["orders"]), 30)
    much = min(sum(customer["orders"]) // 50, 40)
    lately = max(30 - customer["idle_days"] // 2, 0)
    return often + much + lately


def batch_task(number):
    """The task that scores one batch of the customers."""
    key = f"scores_{number}"

    def score_batch(context):
        batch = context.get("customers")[number - 1 :: BATCHES]
        context.set(key, {customer["id"]: score(customer) for customer in batch})
        print(f"batch_{number}: scored {len(batch):,} customers")

    return score_batch


with cloaca.WorkflowBuilder("customer_analysis") as builder:
    builder.description("Segments, scores and a forecast for the customers of a shop")

    @cloaca.task()
    def load_customers(context):
        """Generate as many customers as the input says."""
        rng = random.Random(7)
        customers = [generate_customer(number, rng) for number in range(context.get("count"))]
        context.set("customers", customers)
        print(f"load_customers: generated {len(customers):,} customers")

    @cloaca.task(dependencies=[load_customers])
    def segment(context):
        """Split the customers by tier."""
        customers = context.get("customers")
        context.set("premium", [customer for customer in customers if customer["tier"] == "premium"])
        context.set("standard", [customer for customer in customers if customer["tier"] == "standard"])
        print("segment: split them into premium and standard")

    @cloaca.task(dependencies=[segment])
    def premium_analysis(context):
        """What premium customers bring."""
        premium = context.get("premium")
        context.set("premium_revenue", revenue_of(premium))
        print(f"premium_analysis: {len(premium):,} customers paid {revenue_of(premium):,} euros")

    @cloaca.task(dependencies=[segment])
    def standard_analysis(context):
        """What standard customers bring."""
        standard = context.get("standard")
        context.set("standard_revenue", revenue_of(standard))
        print(f"standard_analysis: {len(standard):,} customers paid {revenue_of(standard):,} euros")

    @cloaca.task(dependencies=[premium_analysis, standard_analysis])
    def segment_report(context):
        """Compare the two segments."""
        premium, standard = context.get("premium_revenue"), context.get("standard_revenue")
        share = premium / (premium + standard)
        context.set("premium_share", share)
        print(f"segment_report: {share:.0%} of the revenue comes from premium customers")

    for number in range(1, BATCHES + 1):
        cloaca.task(id=f"batch_{number}", dependencies=[load_customers])(batch_task(number))

    @cloaca.task(dependencies=[f"batch_{number}" for number in range(1, BATCHES + 1)])
    def combine_batches(context):
        """Put the batches together again."""
        scores = {}
        for number in range(1, BATCHES + 1):
            scores.update(context.get(f"scores_{number}"))
        context.set("scores", scores)
        print(f"combine_batches: {len(scores):,} scores, {sum(scores.values()) / len(scores):.1f} on average")

    @cloaca.task(dependencies=[segment_report, combine_batches])
    def revenue_analysis(context):
        """Revenue by country."""
        revenue = dict.fromkeys(COUNTRIES, 0)
        for customer in context.get("customers"):
            revenue[customer["country"]] += sum(customer["orders"])
        context.set("revenue", revenue)
        print(f"revenue_analysis: most revenue comes from {max(revenue, key=revenue.get)}")

    @cloaca.task(dependencies=[revenue_analysis])
    def churn_analysis(context):
        """Customers with few points may leave."""
        at_risk = [number for number, points in context.get("scores").items() if points < 25]
        context.set("at_risk", at_risk)
        print(f"churn_analysis: {len(at_risk):,} customers may leave")

    @cloaca.task(dependencies=[churn_analysis])
    def lifetime_value(context):
        """Who stays pays for five years, who may leave for one."""
        at_risk = set(context.get("at_risk"))
        leaving = [customer for customer in context.get("customers") if customer["id"] in at_risk]
        staying = [customer for customer in context.get("customers") if customer["id"] not in at_risk]
        context.set("revenue_at_risk", revenue_of(leaving))
        context.set("lifetime_value", 5 * revenue_of(staying) + revenue_of(leaving))
        print(f"lifetime_value: five years of {len(staying):,} customers, and one of {len(leaving):,}")

    @cloaca.task(dependencies=[lifetime_value])
    def forecast(context):
        """Next year, if half of those who may leave do."""
        lost = context.get("revenue_at_risk") // 2
        context.set("forecast", sum(context.get("revenue").values()) - lost)
        print(f"forecast: {lost:,} euros less than this year")

    @cloaca.task(dependencies=[forecast])
    def final_report(context):
        """Put everything into a table."""
        lines = [
            f"Customers              {len(context.get('customers')):>10,}",
            f"May leave              {len(context.get('at_risk')):>10,}",
            f"Premium share          {context.get('premium_share'):>10.0%}",
            *(f"Revenue in {country:12}{euros:>10,}" for country, euros in context.get("revenue").items()),
            f"Revenue next year      {context.get('forecast'):>10,}",
            f"Lifetime value         {context.get('lifetime_value'):>10,}",
        ]
        context.set("report", "\n".join(lines))
        print("final_report: written")


def main():
    """Run the workflow on as many customers, and with as many workers, as the command line says."""
    parser = argparse.ArgumentParser(description="Analyse the customers of a shop")
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--workers", type=int, help="how many worker processes; by default one per core")
    options = parser.parse_args()
    if options.customers < 1:
        parser.error("--customers must be at least 1")

    with cloaca.DefaultRunner(workers=options.workers) as runner:
        result = runner.execute("customer_analysis", cloaca.Context({"count": options.customers}))
    result.raise_for_status()

    print()
    print(f"{result.status}: {len(result.tasks)} tasks in {result.duration:.2f} s")
    print()
    print(result.final_context.get("report"))


if __name__ == "__main__":
    main()
