"""Which groups an answer shows, and in which form.

    having      conditions on the measures of groups
    cursor      where the next page of groups begins
    ranking     the groups of a page, in their order
    wide        a series with one column for each group and measure

A group is ranked by its sums over the whole range.
"""
