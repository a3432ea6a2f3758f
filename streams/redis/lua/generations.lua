-- Generations: open, begin, switch and retire one; refuse or accept a position; let another price
-- list or added views take effect. Registers these eight.
--
-- KEYS, ARGV and returns: see each function. Units: times are ms since 1970, positions are offsets.

-- open KEYS[1] = meta, KEYS[2] = current; ARGV = digest, generation, partitions, now_ms, about,
-- the secret of its digests, JSON of meta.closed.
-- Creates the generation if there is none. Returns 1 if it was created, 0 if it exists. An error if
-- there are counters without a meta record: counting from position 0 would count them twice.
local function open(keys, args)
  if redis.call('EXISTS', keys[1]) == 1 then return 0 end
  if redis.call('EXISTS', prefix_of(keys[1]) .. 'tl') == 1 then
    return redis.error_reply('ORPHANS counters stand under ' .. keys[1] .. ' but it is gone: '
      .. 'bring the whole store back from one copy, or remove all of its keys')
  end
  local meta = new_meta(args[1], tonumber(args[4]), cjson.decode(args[7]))
  extend(meta, tonumber(args[3]), {})
  write_meta(keys[1], meta)
  redis.call('SET', prefix_of(keys[1]) .. 'about', args[5])
  redis.call('SET', prefix_of(keys[1]) .. 'key', args[6])
  redis.call('SET', prefix_of(keys[1]) .. 'newest', 0)
  redis.call('SETNX', keys[2], args[2])
  return 1
end

-- refuse KEYS[1] = meta; ARGV = partition ("generation" for all), code, JSON of the details, the
-- position it is about (-1: none). Returns 1, or 0 if there is no meta record or the position has
-- moved.
local function refuse(keys, args)
  local meta = read_meta(keys[1])
  if not meta then return 0 end
  local part = meta.parts[(tonumber(args[1]) or -1) + 1]
  if part then
    if part.position ~= tonumber(args[4]) then return 0 end
    part.refused = tonumber(args[2])
  else
    meta.refused = tonumber(args[2])
  end
  write_meta(keys[1], meta)
  redis.call('HSET', prefix_of(keys[1]) .. 'refusals', args[1], args[3])
  return 1
end

-- accept KEYS[1] = meta; ARGV = partition, expected position, new position, history_from_ms. An
-- operator decides that counting continues at the new position. Returns 1, or 0 if the position has
-- moved.
local function accept(keys, args)
  local meta = read_meta(keys[1])
  local part = meta and meta.parts[tonumber(args[1]) + 1]
  if not part or part.position ~= tonumber(args[2]) then return 0 end
  part.position, part.commit = tonumber(args[3]), NO_COMMIT
  part.witness_offset, part.witness_append, part.refused = -1, 0, 0
  meta.history_from = math.max(meta.history_from, tonumber(args[4]))
  redis.call('HDEL', prefix_of(keys[1]) .. 'refusals', args[1])
  write_meta(keys[1], meta)
  return 1
end

-- adopt KEYS[1] = meta; ARGV = the digest that the generation must have, the new one, the version of
-- the new price list, the list, before_ms, how many lists there may be. From now on the generation is
-- counted under the new list: events from the returned time on (ms) have its prices. All events that
-- are counted already were appended before that time (0: none is). Returns -1 if the generation is another one by
-- now, or that time is after before_ms, up to which the caller has compared the lists.
local function adopt(keys, args)
  local meta = read_meta(keys[1])
  local key = prefix_of(keys[1]) .. 'prices'
  local known = redis.call('GET', key)
  if not meta or meta.state ~= LIVE or meta.digest ~= args[1] or not known then return -1 end
  local lists = cjson.decode(known)
  local from = lists[#lists][1]
  for _, part in ipairs(meta.parts) do
    if part.position > 0 then
      from = math.max(from, part.witness_offset >= 0 and part.witness_append + 1 or part.complete)
    end
  end
  if from > tonumber(args[5]) or #lists >= tonumber(args[6]) then return -1 end
  redis.call('SET', key .. '.' .. #lists, args[4])
  lists[#lists + 1] = {from, args[3]}
  redis.call('SET', key, cjson.encode(lists))
  meta.digest = args[2]
  write_meta(keys[1], meta)
  return from
end

-- add_views KEYS[1] = meta; ARGV = the digest that the generation must have, the new one, about, JSON
-- of the ids of the views, how far an event may be ahead of its append (ms). From now on the generation
-- has these views too. Each of them has all events from the returned time on (ms; 0: nothing is counted
-- yet, so it has all). Returns -1 if the generation is another one by now.
local function add_views(keys, args)
  local meta, prefix = read_meta(keys[1]), prefix_of(keys[1])
  if not meta or meta.state ~= LIVE or meta.digest ~= args[1] then return -1 end
  local newest, from = redis.call('GET', prefix .. 'newest'), 0
  if newest then
    from = tonumber(newest) > 0 and tonumber(newest) + MINUTE_MS or 0
  else -- counters of an earlier version
    for _, part in ipairs(meta.parts) do
      if part.position > 0 then
        local append = part.witness_offset >= 0 and part.witness_append + 1 or part.complete
        from = math.max(from, math.ceil((append + args[5]) / MINUTE_MS) * MINUTE_MS)
      end
    end
  end
  local views = cjson.decode(redis.call('GET', prefix .. 'views') or '{}')
  for _, id in ipairs(cjson.decode(args[4])) do views[text_of(id)] = from end
  if from > 0 then redis.call('SET', prefix .. 'views', cjson.encode(views)) end
  redis.call('SET', prefix .. 'about', args[3])
  meta.digest = args[2]
  write_meta(keys[1], meta)
  return from
end

-- begin KEYS = meta of the generation that answers, meta of the next, current, generations;
-- ARGV = their numbers, digest, now_ms, JSON of the first positions (-1: none), history_from_ms,
-- about, JSON for the hash of generations, the secret of its digests ('': that of the generation
-- that answers), JSON of meta.closed, hours_from_ms, the newest minute that copied buckets may have (ms),
-- JSON of since when added views count ('': all have all events). Returns 1, or 0 if another generation answers
-- now, the next one exists already, or the one that answers has no secret to take over.
local function begin(keys, args)
  if redis.call('GET', keys[3]) ~= args[1] or redis.call('EXISTS', keys[2]) == 1 then return 0 end
  local secret = args[9]
  if secret == '' then secret = redis.call('GET', prefix_of(keys[1]) .. 'key') end
  if not secret then return 0 end
  local meta = new_meta(args[3], tonumber(args[4]), cjson.decode(args[10]))
  meta.history_from, meta.hours_from = tonumber(args[6]), tonumber(args[11])
  local positions = cjson.decode(args[5])
  extend(meta, #positions, {})
  for index, position in ipairs(positions) do meta.parts[index].position = position end
  write_meta(keys[2], meta)
  redis.call('SET', prefix_of(keys[2]) .. 'about', args[7])
  redis.call('SET', prefix_of(keys[2]) .. 'key', secret)
  redis.call('SET', prefix_of(keys[2]) .. 'newest', args[12])
  if args[13] ~= '' then redis.call('SET', prefix_of(keys[2]) .. 'views', args[13]) end
  redis.call('HSET', keys[4], args[2], args[8])
  return 1
end

-- switch KEYS as of begin; ARGV = their numbers, now_ms, JSON for the hash of generations about the
-- one that answers until now. Retires it and lets the next one answer, if that has counted at least
-- as far in every partition. The next one takes over its freshness. Returns {'switched'} (also if
-- it was switched before) | {'replaced'} (another one answers) | {'missing'} | {'behind',
-- partition...}.
local function switch(keys, args)
  local current = redis.call('GET', keys[3])
  if current == args[2] then return {'switched'} end
  if current ~= args[1] then return {'replaced'} end
  local old, new = read_meta(keys[1]), read_meta(keys[2])
  if not old or not new then return {'missing'} end
  extend(new, #old.parts, {})
  local behind = {}
  for index, part in ipairs(old.parts) do
    if new.parts[index].position < part.position then behind[#behind + 1] = index - 1 end
  end
  if #behind > 0 then return {'behind', unpack(behind)} end
  for index, part in ipairs(old.parts) do
    new.parts[index].complete = math.max(new.parts[index].complete, part.complete)
  end
  old.state = RETIRED
  write_meta(keys[1], old)
  write_meta(keys[2], new)
  redis.call('HSET', keys[4], args[1], args[4])
  redis.call('SET', keys[3], args[2])
  return {'switched'}
end

-- retire KEYS = meta, current, generations; ARGV = its number, JSON for the hash of generations.
-- Retires a generation that does not answer: it accepts no more commits. Returns 1, or 0 if it
-- answers.
local function retire(keys, args)
  if redis.call('GET', keys[2]) == args[1] then return 0 end
  local meta = read_meta(keys[1])
  if meta then
    meta.state = RETIRED
    write_meta(keys[1], meta)
  end
  redis.call('HSET', keys[3], args[1], args[2])
  return 1
end

redis.register_function('odometer_add_views_@VERSION@', add_views)
redis.register_function('odometer_adopt_@VERSION@', adopt)
redis.register_function('odometer_begin_@VERSION@', begin)
redis.register_function('odometer_retire_@VERSION@', retire)
redis.register_function('odometer_switch_@VERSION@', switch)
redis.register_function('odometer_open_@VERSION@', open)
redis.register_function('odometer_refuse_@VERSION@', refuse)
redis.register_function('odometer_accept_@VERSION@', accept)
