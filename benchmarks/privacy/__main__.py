"""`python -m benchmarks.privacy`: precision and recall of the scan over the labelled cases, as a table."""

from __future__ import annotations

from benchmarks.privacy.cases import cases
from benchmarks.privacy.score import mistakes, scores


def main() -> None:
    labelled = cases()
    print("| kind | true cases | tempting cases | found | wrong | missed | precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for row in scores(labelled):
        print(
            f"| {row.kind} | {row.true_cases} | {row.tempting_cases} | {row.found} | {row.wrong} "
            f"| {row.missed} | {row.precision:.3f} | {row.recall:.3f} |"
        )
    print(f"\n{len(labelled)} cases; not as labelled:")
    for case, found in mistakes(labelled):
        print(f"  {case.kind}: {case.text[:80]!r}: {[value[:50] for _, value in found] or 'nothing found'}")


if __name__ == "__main__":
    main()
