"""What an event costs where its producer sends no cost. Pure.

streams/core/pricing.py prices whole batches by the same rules.

    cost        the cost of one event, and by which price
    price_list  an operator's price file, before the bundled prices
    terms       tier, speed and region: what decides a price beside the numbers
    names       provider and model, from the names that libraries write
    providers   one name for each provider
"""
