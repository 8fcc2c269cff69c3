"""What is worked out of a bakery's orders: fifteen plain functions, which know nothing of workflows."""

from dataclasses import dataclass
from statistics import fmean, pstdev


@dataclass(frozen=True)
class Order:
    """So many pieces of a product, sold in a shop on a day."""

    day: int
    shop: str
    product: str
    pieces: int


@dataclass(frozen=True)
class Sale:
    """What was paid for an order."""

    day: int
    shop: str
    product: str
    amount: float


PRODUCTS = ("bread", "cake", "rolls")


def read_orders(days: int) -> list[Order]:
    """Make up the orders of so many days; those of no pieces were cancelled."""
    places = [(day, shop, product) for day in range(days) for shop in ("north", "south") for product in PRODUCTS]
    return [Order(*place, pieces=number * 7 % 23 + place[0] // 9) for number, place in enumerate(places)]


def read_prices(discount: float = 0.0) -> dict[str, float]:
    """Make up a list of prices."""
    return {"bread": 3.5 - discount, "cake": 12.0 - discount, "rolls": 0.5}


def without_cancelled(orders: list[Order]) -> list[Order]:
    """Leave out the orders of no pieces."""
    return [order for order in orders if order.pieces]


def with_prices(orders: list[Order], prices: dict[str, float]) -> list[Sale]:
    """Work out what was paid."""
    return [Sale(one.day, one.shop, one.product, one.pieces * prices[one.product]) for one in orders]


def split_by_shop(sales: list[Sale]) -> tuple[list[Sale], list[Sale]]:
    """Tell the shops apart."""
    return [sale for sale in sales if sale.shop == "north"], [sale for sale in sales if sale.shop == "south"]


def total(sales: list[Sale]) -> float:
    """Sum them up."""
    return sum(sale.amount for sale in sales)


def by_product(sales: list[Sale]) -> dict[str, float]:
    """Sum up the sales of each product."""
    return {product: total([sale for sale in sales if sale.product == product]) for product in PRODUCTS}


def by_day(sales: list[Sale]) -> list[float]:
    """Sum up the sales of each day."""
    days = max(sale.day for sale in sales) + 1
    return [total([sale for sale in sales if sale.day == day]) for day in range(days)]


def best_of(daily: list[float]) -> int:
    """Find the day of the largest sales."""
    return max(range(len(daily)), key=daily.__getitem__)


def mean(daily: list[float]) -> float:
    """Take the average."""
    return fmean(daily)


def spread(daily: list[float]) -> float:
    """Take the standard deviation."""
    return pstdev(daily)


def trend(daily: list[float]) -> float:
    """Fit a line, and tell by how much it rises each day."""
    middle, average = (len(daily) - 1) / 2, fmean(daily)
    rise = sum((day - middle) * (amount - average) for day, amount in enumerate(daily))
    return rise / sum((day - middle) ** 2 for day in range(len(daily)))


def forecast(daily: list[float], rise: float, ahead: int = 7) -> float:
    """Follow the line so many days further."""
    return fmean(daily) + rise * ((len(daily) - 1) / 2 + ahead)


def bars(products: dict[str, float]) -> str:
    """Draw what each product is worth."""
    most = max(products.values())
    return "\n".join(f"{name:8}{'#' * round(20 * amount / most)}" for name, amount in products.items())


def report(north: float, south: float, average: float, deviation: float, best_day: int, expected: float) -> str:
    """Write it down."""
    return (
        f"north {north:,.2f}, south {south:,.2f}\n"
        f"{average:,.2f} a day, give or take {deviation:,.2f}; most on day {best_day}\n"
        f"{expected:,.2f} expected in a week"
    )
