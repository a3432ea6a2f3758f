"""Which groups an answer shows, and in which form.

    having      conditions on the measures of groups
    cursor      where the next page of groups begins
    owners      the tenants of a question, each with its directory
    stored_rows  rows before they are ranked, of all tenants and by what directories say
    ranking     the groups of a page, in their order
    people      users' names, addresses and groups, from the directory
    person_dimensions  their names as dimensions
    dimension_values  the values of one dimension, most used first
    wide        a series with one column for each group and measure

A group is ranked by its sums over the whole range.
"""
