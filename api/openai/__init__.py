"""The dialect of OpenAI's organization usage API: /openai/v1/organization/usage/... and costs.

    endpoints   the routes, and how a request is answered
    questions   the table of paths: what each asks, groups by and filters by
    parameters  parses the query string
    pages       the buckets of a range, and the cursors of its pages
    figures     from sums of counters to the numbers of a result
    bodies      from rows to the buckets of an answer
    errors      OpenAI's answer to every error
    openapi     the description of the paths

schemas/contracts/openai.md says what OpenAI's server answers.
"""
