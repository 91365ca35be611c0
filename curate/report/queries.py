"""The figures of the report: one pass of SQL per table over the manifests, rows as dictionaries.

Every query has a total order, and every sum is of integers, so that the rows do not depend on how DuckDB
divides the work. 100,000 documents take about 0.3 s, of which most is opening the files.
"""

from __future__ import annotations

from typing import Any

import duckdb

Row = dict[str, Any]

#: What may become of a document, in the order in which charts stack it.
FATES = ("kept", "rules", "language", "exact", "near", "quarantined")

#: `documents` with its fate: the status, or the kind of duplicate; what has no status was kept by nobody.
_FATED = """
    SELECT *, CASE WHEN status = 'duplicate' THEN coalesce(duplicate_kind, 'near')
                   ELSE coalesce(status, 'quarantined') END AS fate
    FROM documents
"""

_BY_FATE = ", ".join(f"count(*) FILTER (fate = '{fate}') AS {fate}" for fate in FATES)

_TOTALS = f"""
    SELECT count(*) AS documents, coalesce(sum(bytes), 0)::BIGINT AS bytes, {_BY_FATE},
           coalesce(sum(tokens) FILTER (fate = 'kept'), 0)::BIGINT AS tokens,
           coalesce(sum(text_bytes) FILTER (fate = 'kept'), 0)::BIGINT AS text_bytes
    FROM ({_FATED})
"""

_IN_SHARDS = """
    SELECT count(*) AS shards, coalesce(sum(sequences), 0)::BIGINT AS sequences,
           coalesce(sum(tokens), 0)::BIGINT AS tokens, coalesce(sum(padding), 0)::BIGINT AS padding,
           coalesce(sum(bytes), 0)::BIGINT AS bytes
    FROM shards
"""


def _grouped(key: str, limit: int) -> str:
    return f"""
        SELECT {key} AS name, count(*) AS documents, coalesce(sum(bytes), 0)::BIGINT AS bytes, {_BY_FATE},
               coalesce(sum(tokens) FILTER (fate = 'kept'), 0)::BIGINT AS tokens
        FROM ({_FATED}) GROUP BY {key}
        ORDER BY tokens DESC, documents DESC, name NULLS LAST LIMIT {limit}
    """


#: Quality buckets (0 to 19) of the documents that have one, in fives.
_QUALITY = f"""
    SELECT format('{{}} to {{}}', low, low + 4) AS name, count(*) AS documents, {_BY_FATE},
           coalesce(sum(tokens) FILTER (fate = 'kept'), 0)::BIGINT AS tokens
    FROM (SELECT *, quality_bucket - quality_bucket % 5 AS low FROM ({_FATED}))
    WHERE low IS NOT NULL GROUP BY low ORDER BY low DESC
"""

_RULES = f"""
    WITH dropped AS (SELECT domain, dropped_by, failed_rules, fate FROM ({_FATED})
                     WHERE fate IN ('rules', 'language')),
    first AS (SELECT dropped_by AS rule, count(*) AS first FROM dropped GROUP BY ALL),
    failing AS (SELECT rule, count(*) AS failing
                FROM (SELECT unnest(list_distinct(failed_rules)) AS rule FROM ({_FATED})) GROUP BY ALL)
    SELECT rule AS name, coalesce(first, 0) AS first, greatest(failing, first, 0) AS failing
    FROM first FULL JOIN failing USING (rule) ORDER BY first DESC, failing DESC, name NULLS LAST LIMIT 25
"""

_RULES_BY_DOMAIN = f"""
    SELECT dropped_by AS rule, domain, count(*) AS documents
    FROM ({_FATED}) WHERE fate IN ('rules', 'language') GROUP BY ALL
    ORDER BY documents DESC, rule NULLS LAST, domain NULLS LAST LIMIT 2000
"""

#: What was cut from the documents that were kept, by rule.
_EDITS = f"""
    SELECT edit.rule AS name, count(*) AS documents, sum(edit.count)::BIGINT AS spans,
           sum(edit.bytes)::BIGINT AS bytes
    FROM (SELECT unnest(edits) AS edit FROM ({_FATED}) WHERE fate = 'kept')
    GROUP BY ALL ORDER BY bytes DESC, name LIMIT 40
"""

_PLAN = """
    SELECT stage, domain, sum(planned_tokens)::BIGINT AS planned, sum(realised_tokens)::BIGINT AS realised
    FROM plan GROUP BY ALL ORDER BY stage NULLS LAST, planned DESC, domain NULLS LAST
"""

_STAGES = """
    WITH packed AS (
        SELECT stage, count(*) AS sequences, sum(documents)::BIGINT AS documents,
               sum(tokens)::BIGINT AS tokens, sum(padding)::BIGINT AS padding,
               max(tokens + padding) AS longest,
               quantile_disc(documents, [0, 0.5, 1]) AS documents_range,
               quantile_disc(sum_squared_lengths, [0.05, 0.25, 0.5, 0.75, 0.95]) AS work,
               max(sum_squared_lengths) / avg(sum_squared_lengths) AS imbalance
        FROM sequences GROUP BY stage),
    planned AS (SELECT stage, sum(realised_tokens)::BIGINT AS realised FROM plan GROUP BY stage)
    SELECT stage AS name, coalesce(s.length, k.longest) AS length, s.share, s.budget_tokens AS budget,
           s.planned_tokens AS planned, p.realised, s.sequences_planned, s.steps,
           coalesce(k.sequences, 0) AS sequences, coalesce(k.documents, 0) AS documents,
           coalesce(k.tokens, 0) AS tokens, coalesce(k.padding, 0) AS padding, k.documents_range, k.work,
           k.imbalance
    FROM stages s FULL JOIN packed k USING (stage) LEFT JOIN planned p USING (stage)
    ORDER BY length NULLS LAST, name NULLS LAST
"""

_EPOCHS = """
    WITH have AS (SELECT source, sum(tokens)::BIGINT AS inventory FROM inventory GROUP BY source),
    cells AS (SELECT source, sum(planned_tokens) AS planned, sum(realised_tokens) AS realised,
                     sum(epochs) AS epochs
              FROM plan GROUP BY source, domain, language, length_class),
    want AS (SELECT source, sum(planned)::BIGINT AS planned, sum(realised)::BIGINT AS realised,
                    max(epochs) AS highest
             FROM cells GROUP BY source)
    SELECT source AS name, inventory, coalesce(planned, 0) AS planned, coalesce(realised, 0) AS realised,
           highest
    FROM have FULL JOIN want USING (source) ORDER BY realised DESC, inventory DESC, name NULLS LAST
"""

#: Kept documents by length: bin b holds 2^b <= tokens < 2^(b+1); bin 0 also the empty ones.
_LENGTHS = """
    SELECT floor(log2(greatest(tokens, 1)))::INTEGER AS bin, count(*) AS documents,
           sum(tokens)::BIGINT AS tokens
    FROM documents WHERE status = 'kept' AND tokens IS NOT NULL GROUP BY ALL ORDER BY bin
"""

_ERRORS = f"""
    SELECT error AS name, count(*) AS documents, count(DISTINCT source) AS sources, min(source) AS source
    FROM ({_FATED}) WHERE fate = 'quarantined' GROUP BY error
    ORDER BY documents DESC, name NULLS LAST LIMIT 20
"""

#: One example of every error first, then second ones.
_ERROR_EXAMPLES = f"""
    SELECT source, locator, error, error_offset, bytes FROM (
        SELECT *, row_number() OVER (PARTITION BY error ORDER BY source, locator, document_id) AS nth,
               count(*) OVER (PARTITION BY error) AS size
        FROM ({_FATED}) WHERE fate = 'quarantined')
    ORDER BY nth, size DESC, error NULLS LAST, source, locator LIMIT 20
"""

#: An exact duplicate of a document that is itself a duplicate counts to the one that was kept.
_CLUSTERS = """
    WITH pairs AS (SELECT d.duplicate_of AS parent, d.duplicate_kind, d.jaccard, d.source
                   FROM documents d WHERE d.status = 'duplicate' AND d.duplicate_of IS NOT NULL),
    parents AS (SELECT document_id, duplicate_of FROM documents
                WHERE status = 'duplicate' AND document_id IN (SELECT parent FROM pairs)),
    roots AS (SELECT coalesce(p.duplicate_of, pairs.parent) AS root, duplicate_kind, jaccard, source
              FROM pairs LEFT JOIN parents p ON p.document_id = pairs.parent),
    largest AS (SELECT root, count(*) AS removed, count(*) FILTER (duplicate_kind = 'exact') AS exact,
                       count(DISTINCT source) AS sources, min(jaccard) AS jaccard
                FROM roots GROUP BY root ORDER BY removed DESC, root LIMIT 10)
    SELECT lower(hex(root)) AS id, removed, exact, sources, l.jaccard, d.source, d.locator
    FROM largest l LEFT JOIN documents d ON d.document_id = l.root ORDER BY removed DESC, id
"""

_NOTES = "SELECT note FROM notes WHERE note IS NOT NULL ORDER BY note"


def gather(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """All that the page shows, by name: rows as dictionaries, totals as one dictionary."""

    def rows(sql: str) -> list[Row]:
        cursor = connection.execute(sql)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    return {
        "totals": rows(_TOTALS)[0],
        "in_shards": rows(_IN_SHARDS)[0],
        "sources": rows(_grouped("source", 200)),
        "languages": rows(_grouped("language", 30)),
        "language_count": rows("SELECT count(DISTINCT language) AS n FROM documents")[0]["n"],
        "domains": rows(_grouped("domain", 30)),
        "topics": rows(_grouped("topic", 30)),
        "document_types": rows(_grouped("document_type", 30)),
        "quality": rows(_QUALITY),
        "rules": rows(_RULES),
        "rules_by_domain": rows(_RULES_BY_DOMAIN),
        "edits": rows(_EDITS),
        "plan": rows(_PLAN),
        "stages": rows(_STAGES),
        "epochs": rows(_EPOCHS),
        "lengths": rows(_LENGTHS),
        "errors": rows(_ERRORS),
        "error_examples": rows(_ERROR_EXAMPLES),
        "clusters": rows(_CLUSTERS),
        "notes": [row["note"] for row in rows(_NOTES)],
    }
