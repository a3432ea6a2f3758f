"""Everything in the API that uses Redis, and the caches between Redis and an answer.

    reader            the store: all questions of an answer at one instant, and single commands
    generation_state  what was read of one generation, and how it is brought up to date
    snapshot          atomic reads, shared by requests that arrive together
    connection        the connection for these reads, and the pool for all other commands
    large_answers     answers that are read in pieces, on another connection
    slots             how many answers are made at once, who waits, and who goes first
    page_cache        pages of counters
    sums_cache        sums of questions
    names_cache       names of series
    picks_cache       series that pass the filters of a question
    evictions         whether Redis has evicted keys
    freshness         the headers that say how fresh an answer is
    directory         users, groups, titles of chats, latest calls
    chats             the chats that used a model
    shared_secret     a secret that signs what clients keep

A request passes these caches in this order. Each process has its own.

| cache | holds | bound | dropped |
|---|---|---|---|
| `api.auth.key_cache` | API keys, and what is left of their limits | 10,000 keys | asked again after 500 ms |
| `api.usage.question` | questions of /v1/usage, parsed and planned | 1,024 of at most 4 kB of text each | after one second, as `now` moves on |
| `api.agentlens.analytics` | the same of /api/analytics/llm | 1,024 URLs | after one second |
| `api.http.answer_cache` | answers as they were sent | 256 of at most 256 kB each | when the sums of the question change |
| `api.query.plan`: views | the views that hold some dimensions and measures | 1,024 | never: a catalog is fixed, and added views make another one |
| `api.query.plan`: numbers | a number for each plan | 8,192 plans | never: equal plans are equal for ever |
| `sums_cache` | sums of a plan and tenant | 64 MiB, of one 16 | when a chunk has rows that cannot be added, or the tenant's names are evicted |
| `picks_cache` | series that pass a filter, and their groups | 256 MiB | never: names are only added, which is another key |
| `page_cache` | pages of counters | 128 MiB | when the version of the chunk changes and the page has not only grown |
| `generation_state`: large pages | pages of answers that were read in pieces, apart from the others | 128 MiB | as `page_cache` |
| `names_cache` | names of series, by tenant | 512 MiB, or one tenant | never: lists of names only grow |
| `generation_state` | ids of tenants, and the last state record | 10,000 tenants, one record | with the generation |
| `api.query.time_buckets` | labels of buckets | 20,000 | never: they depend on nothing |
| `api.usage.groups.people` | names, addresses and groups of users, by tenant | 200,000 users | read again after 5 s, or ten times as long as that took |
| `api.usage.render` | a class for each list of columns | 256 | never: they depend on nothing |

Every cache that has a bound evicts what was used least recently. `names_cache` evicts the names of a
whole tenant, and `page_cache` the pages of a whole chunk. The tables of ids, sums, pages and names
belong to one `GenerationState`. The reader drops it, and all of them with it, when Redis answers with
another generation, with added views, with fewer commits than before, from another process, or not at all.

`functools.cache` is used only for values of one catalog, one table or one list of time zones: they
have a handful of keys. A request under way for an equal question is shared (`api.http.singleflight`),
but nothing is kept after it.
"""
