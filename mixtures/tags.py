"""Subjects and kinds of document: the closed lists that a document's `topic` and `document_type` come from.

Akin to the 24 topics and 24 formats of WebOrganizer (arXiv:2502.10341), with mathematics apart from the other
sciences and with the kinds of document that a pre-training corpus has beside web pages (source code, formal
proofs, manual pages). `docs/classifiers.md` defines each.
"""

from __future__ import annotations

from typing import Literal, get_args

Topic = Literal[
    "adult",
    "art_and_design",
    "crime_and_law",
    "education_and_jobs",
    "entertainment",
    "fashion_and_beauty",
    "finance_and_business",
    "food_and_dining",
    "games",
    "hardware",
    "health",
    "history",
    "home_and_hobbies",
    "industrial",
    "literature",
    "mathematics",
    "news_and_politics",
    "religion",
    "science",
    "social_life",
    "software",
    "sports",
    "transport",
    "travel",
]

DocumentType = Literal[
    "about_page",
    "academic_paper",
    "advertisement",
    "audio_transcript",
    "blog_post",
    "comment_section",
    "data_table",
    "documentation",
    "encyclopaedia_article",
    "exam_or_problem",
    "formal_proof",
    "forum_thread",
    "how_to",
    "legal_text",
    "link_list",
    "literary_work",
    "manual_page",
    "news_article",
    "product_page",
    "question_and_answer",
    "review",
    "source_code",
    "tutorial",
    "user_help",
]

TOPICS: tuple[str, ...] = get_args(Topic)
DOCUMENT_TYPES: tuple[str, ...] = get_args(DocumentType)

#: The tags that a document has, and their values.
TAGS: dict[str, tuple[str, ...]] = {"topic": TOPICS, "document_type": DOCUMENT_TYPES}
