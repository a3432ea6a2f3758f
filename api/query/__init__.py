"""From a question to the pages that answer it, and from pages to rows. Pure.

In the order of a question's path:

    time_range    the bounds of a range, as people write them
    time_buckets  the steps of a series, and their starts in a time zone
    comparison    the range that another is compared with, and the change
    kept_range    what the stored buckets can answer: ranges and steps
    measures      the measures that a question may ask for, and how to compute them
    counted_views  which views of the catalog the counters have, and since when each counts
    plan          a question to a plan: the view, its tables, the stored buckets
    answered_range
                  the range of a dialect's answer where no whole bucket is in the asked one
    series_index  the names of series as columns, and filters over them
    selection     the keys of the pages that a plan reads of one tenant
    bounds        what one answer may read and have at most
    sums          pages to exact sums
    sliced_sums   the same slice by slice, for many pages
    rows          sums as the rows of an answer: order, limit, fill, running sums
"""
