"""A straight polars script: the columns and files of a round, one symbol after the other, nothing checked or signed.

Usage: python bench/straight.py SOURCE_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import polars as pl

HORIZON, EMBARGO, WARM_UP, WIDTH = 5, 5, 640, 0.7
LABELS = ("label_return", "label_direction")
H, L, C, V = (pl.col(name) for name in ("high", "low", "close", "volume"))


def wilder(values: pl.Expr) -> pl.Expr:
    return values.ewm_mean(alpha=1 / 14, adjust=False)


def ema(values: pl.Expr, span: int) -> pl.Expr:
    return values.ewm_mean(span=span, adjust=False)


def change(bars: int) -> pl.Expr:
    return C / C.shift(bars) - 1


def circle(minutes: int, offset: int) -> pl.Expr:
    minute = (pl.col("timestamp").dt.epoch("s") + 60) // 60 + offset
    return (minute % minutes) * (2 * math.pi / minutes)


def features() -> list[list[pl.Expr]]:
    """In three steps: what needs bars only, what needs those, and so on."""
    up, down = H - H.shift(1), L.shift(1) - L
    plus = pl.when((up > down) & (up > 0)).then(up).otherwise(0.0)
    minus = pl.when((down > up) & (down > 0)).then(down).otherwise(0.0)
    reach = pl.max_horizontal(H, C.shift(1)) - pl.min_horizontal(L, C.shift(1))
    top, bottom = H.rolling_max(14), L.rolling_min(14)
    floor = 1e-5 * C
    first = [
        change(1).alias("ret_1"),
        change(5).alias("ret_5"),
        change(20).alias("ret_20"),
        ((H - L) / C).alias("range_1"),
        C.rolling_mean(20).alias("_mean"),
        C.rolling_std(20, ddof=0).alias("_std"),
        V.rolling_mean(20).alias("_vmean"),
        V.rolling_std(20, ddof=0).alias("_vstd"),
        ((C - bottom) / (top - bottom)).fill_nan(0.5).alias("stoch_k_14"),
        pl.max_horizontal(wilder(reach), floor).alias("_atr"),
        wilder(plus).alias("_plus"),
        wilder(minus).alias("_minus"),
        (ema(C, 12) - ema(C, 26)).alias("_macd"),
        (wilder(C.diff()) / pl.max_horizontal(wilder(C.diff().abs()), floor)).alias("rsi_14"),
        circle(1440, 0).sin().alias("day_sin"),
        circle(1440, 0).cos().alias("day_cos"),
        circle(10_080, 3 * 1440).sin().alias("week_sin"),
        circle(10_080, 3 * 1440).cos().alias("week_cos"),
    ]
    squared = pl.col("ret_1") ** 2
    second = [
        (C / pl.col("_mean") - 1).alias("sma_20_dev"),
        (C.rolling_mean(5) / pl.col("_mean") - 1).alias("sma_5_20"),
        ((C - pl.col("_mean")) / pl.col("_std")).alias("bb_z_20"),
        (4 * pl.col("_std") / pl.col("_mean")).alias("bb_width_20"),
        squared.rolling_mean(20).sqrt().alias("vol_20"),
        (squared.rolling_mean(5).sqrt() / squared.rolling_mean(60).sqrt()).alias("vol_5_60"),
        pl.col("stoch_k_14").rolling_mean(3).alias("stoch_d_3"),
        ((V - pl.col("_vmean")) / pl.col("_vstd")).alias("volume_z_20"),
        ((C - ema(C, 12)) / pl.col("_atr")).alias("ema_12_atr"),
        (pl.col("_macd") / pl.col("_atr")).alias("macd_12_26"),
        ((pl.col("_macd") - ema(pl.col("_macd"), 9)) / pl.col("_atr")).alias("macd_hist_9"),
        (pl.col("_atr") / C).alias("atr_14"),
        ((pl.col("_plus") - pl.col("_minus")) / pl.max_horizontal(pl.col("_plus") + pl.col("_minus"), floor)).alias(
            "di_14"
        ),
    ]
    third = [(pl.col("ret_1") / pl.col("vol_20")).alias("ret_z_20"), wilder(pl.col("di_14").abs()).alias("adx_14")]
    return [first, second, third]


def labels() -> list[pl.Expr]:
    band = (WIDTH * pl.col("vol_20") * math.sqrt(HORIZON)).exp()
    direction = pl.lit(0, pl.Int8)
    for ahead in range(HORIZON, 0, -1):
        up, down = H.shift(-ahead) >= C * band, L.shift(-ahead) <= C / band
        direction = (
            pl.when(up & down).then(pl.lit(0, pl.Int8)).when(up).then(pl.lit(1, pl.Int8)).when(down)
            .then(pl.lit(-1, pl.Int8)).otherwise(direction)
        )  # fmt: skip
    return [(C.shift(-HORIZON) / C).log().alias("label_return"), direction.alias("label_direction")]


def cuts(times: pl.Series) -> list[int]:
    rows = times.len() - WARM_UP
    validation, test = WARM_UP + int(rows * 0.7), WARM_UP + int(rows * 0.9)
    return [validation - EMBARGO - HORIZON, validation, test - EMBARGO - HORIZON, test]


def main(source: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.parquet")):
        frame = pl.scan_parquet(path)
        for step in features():
            frame = frame.with_columns(step)
        names = [expression.meta.output_name() for step in features() for expression in step]
        kept = [name for name in names if not name.startswith("_")]
        frame = frame.with_columns(labels()).with_columns(pl.col(kept).cast(pl.Float32))
        table = frame.select("timestamp", "open", "high", "low", "close", "volume", *kept, *LABELS).collect()
        train_ends, validation, validation_ends, test = cuts(table["timestamp"])
        tested = table[test:-HORIZON]
        parts = {
            "train": table[WARM_UP:train_ends],
            "validation": table[validation:validation_ends],
            "test": tested.drop(LABELS),
            "labels": tested.select("timestamp", *LABELS),
            "features": table[-WARM_UP - HORIZON :].drop(LABELS),
        }
        for role, part in parts.items():
            part.write_parquet(out / f"{role}-{path.stem}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
