"""What an event costs where its producer sends no cost. Pure.

streams/core/pricing.py prices whole batches by the same rules.

    cost        the cost of one event, and by which price
    tariffs     the price of a model at a time and under terms, from all lists
    billing     which numbers of an event a price bills, and which it must not leave out
    price_list  an operator's price file, before the bundled prices
    genai_list  the list of genai-prices, installed or stored
    stored_lists  a whole price list as bytes, which counters keep
    list_changes  whether another list changes prices of an earlier time
    listed_prices  prices of voice vendors and audio tokens, which the bundled list lacks
    terms       tier, speed and region: what decides a price beside the numbers
    names       provider and model, from the names that libraries write
    providers   one name for each provider
"""
