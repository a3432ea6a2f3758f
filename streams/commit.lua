-- The writes of the store: each of these functions is one atomic step. Its Python side is
-- streams/store.py; keys, rows and the meta record are described in schemas/layout.py.
--
-- The library's name carries a digest of this text and a library is never replaced in place: two
-- versions of a worker each call the code that they were tested with.
--
-- Numbers: Lua has doubles only, exact up to 2^53. Positions, times and counts of names stay far
-- below. Sums of measures may not, so `add` watches for 2^53 and goes on in two 32-bit halves.
-- An error inside a script is not rolled back, so each function checks everything, then writes.

local HEADER = '<c4I4c16I4I4i8i8i8i8i8i8i8c8'
local PADDING = '\0\0\0\0\0\0\0\0'
local HEADER_BYTES = 96
local PARTITION = '<i8c16i8i8i8i8i8'
local PARTITION_BYTES = 64
local MAGIC, LIVE, RETIRED = 'ODO1', 1, 2
local NO_COMMIT = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' -- libraries are not there yet at load
local EXACT = 9007199254740992 -- 2^53
local WORD = 4294967296 -- 2^32
local NEIGHBOURS = 2 -- slices before and after a record's own that may hold its resend: W / slice
local DROPPED_BUCKETS_MAX = 256 -- of an old slice in one call: 256 UNLINKs are 0.1 ms
local TALLIES_MAX = 1000 -- names of one hash; a producer that invents field names fills no more

local function read_meta(key)
  local data = redis.call('GET', key)
  if not data then return nil end
  local meta = {parts = {}}
  local magic
  magic, meta.state, meta.digest, meta.count, meta.cursor, meta.history_from, meta.commits,
    meta.slice_low, meta.slice_high, meta.names, meta.created, meta.refused =
    struct.unpack(HEADER, data)
  if magic ~= MAGIC then return nil end
  for index = 1, meta.count do
    local position, commit, witness_offset, witness_append, complete, committed, refused =
      struct.unpack(PARTITION, data, HEADER_BYTES + (index - 1) * PARTITION_BYTES + 1)
    meta.parts[index] = {
      position = position, commit = commit, witness_offset = witness_offset,
      witness_append = witness_append, complete = complete, committed = committed,
      refused = refused,
    }
  end
  return meta
end

local function write_meta(key, meta)
  local out = {struct.pack(HEADER, MAGIC, meta.state, meta.digest, #meta.parts, meta.cursor,
    meta.history_from, meta.commits, meta.slice_low, meta.slice_high, meta.names, meta.created,
    meta.refused, PADDING)}
  for _, part in ipairs(meta.parts) do
    out[#out + 1] = struct.pack(PARTITION, part.position, part.commit, part.witness_offset,
      part.witness_append, part.complete, part.committed, part.refused)
  end
  redis.call('SET', key, table.concat(out))
end

-- Adds the partitions that are not there yet. absent {{partition, ms}}: nothing was acknowledged
-- in that partition before ms, because it did not exist.
local function extend(meta, count, absent)
  local known = #meta.parts
  for index = known + 1, count do
    meta.parts[index] = {position = -1, commit = NO_COMMIT, witness_offset = -1,
      witness_append = 0, complete = 0, committed = 0, refused = 0}
  end
  for _, pair in ipairs(absent) do
    if pair[1] >= known and pair[1] < count then meta.parts[pair[1] + 1].complete = pair[2] end
  end
end

local function prefix_of(meta_key)
  return string.sub(meta_key, 1, -5) -- without 'meta'
end

-- The same sum in two 32-bit halves a measure; nil where it leaves 64 bits.
local function add_exactly(row, row_at, delta, delta_at, count)
  local out = {}
  for index = 0, count - 1 do
    local low_a, high_a = struct.unpack('<I4i4', row, row_at + 8 * index)
    local low_b, high_b = struct.unpack('<I4i4', delta, delta_at + 8 * index)
    local low, high = low_a + low_b, high_a + high_b
    if low >= WORD then low, high = low - WORD, high + 1 end
    if high > 2147483647 or high < -2147483648 then return nil end
    out[#out + 1] = struct.pack('<I4i4', low, high)
  end
  return table.concat(out)
end

-- Packed int64s of `row` from byte `row_at` plus those of `delta`; nil on overflow.
local function add(row, row_at, delta, delta_at, count, format)
  local a = {struct.unpack(format, row, row_at)}
  local b = {struct.unpack(format, delta, delta_at)}
  for index = 1, count do
    local x, y = a[index], b[index]
    local sum = x + y
    if x >= EXACT or x <= -EXACT or y >= EXACT or y <= -EXACT or sum >= EXACT or sum <= -EXACT then
      return add_exactly(row, row_at, delta, delta_at, count)
    end
    a[index] = sum
  end
  a[count + 1] = nil -- struct.unpack's last value is where it stopped
  return struct.pack(format, unpack(a, 1, count))
end

-- Where the row of `cell` starts in a page, or nil. From the end: live buckets are the newest.
local function find_row(data, cell, row_bytes)
  local low, high = cell % 256, math.floor(cell / 256)
  for at = #data - row_bytes + 1, 1, -row_bytes do
    local a, b = string.byte(data, at, at + 1)
    if a == low and b == high then return at end
  end
  return nil
end

-- The entries of one argument, page by page: {first byte, ...}. Those of one series lie together
-- already; pages of several series are sorted, as only their ids say which series share one.
local function in_page_order(delta, entry_bytes, page_series, series)
  local order = {}
  for at = 1, #delta, entry_bytes do order[#order + 1] = at end
  if page_series == 1 then return order end
  local rank = {}
  for _, at in ipairs(order) do
    local slot, chunk = struct.unpack('<I4I4', delta, at)
    local one = series[slot + 1]
    rank[at] = {chunk, one.tenant, math.floor(one.id / page_series), at}
  end
  table.sort(order, function(a, b)
    local x, y = rank[a], rank[b]
    for index = 1, 3 do
      if x[index] ~= y[index] then return x[index] < y[index] end
    end
    return x[4] < y[4]
  end)
  return order
end

-- Works out what one argument's deltas make of their pages and appends it to `writes`, a flat list
-- {key, kind, where, bytes, ...}; nothing is written yet. A page's old bytes are let go at once: to
-- hold those of a whole commit costs the collector more than everything else. False on overflow.
local function add_deltas(prefix, spec, delta, series, writes)
  local view, tier, count, chunk_buckets, page_series, chunk_ms, kept_ms = unpack(spec)
  local values = '<' .. string.rep('i8', count)
  local row_bytes, entry_bytes = 2 + 8 * count, 10 + 8 * count
  local head = prefix .. 'p' .. view .. '.' .. tier .. '.'
  local size = #writes
  local key, data, added, expires
  local last_chunk, last_page
  local function finish()
    if not key or #added == 0 then return end
    local kind = data and 'APPEND' or 'SET'
    writes[size + 1], writes[size + 2], writes[size + 3], writes[size + 4] =
      key, kind, expires, table.concat(added)
    size = size + 4
  end
  for _, at in ipairs(in_page_order(delta, entry_bytes, page_series, series)) do
    local slot, chunk, bucket = struct.unpack('<I4I4I2', delta, at)
    local one = series[slot + 1]
    local page = one.page
    if page_series ~= 1 or not page then
      page = '.' .. one.tenant .. '.' .. math.floor(one.id / page_series)
      if page_series == 1 then one.page = page end
    end
    if chunk ~= last_chunk or page ~= last_page then
      finish()
      last_chunk, last_page = chunk, page
      key = head .. chunk .. page
      data = redis.call('GET', key)
      added, expires = {}, (chunk + 1) * chunk_ms + kept_ms
    end
    local cell = (one.id % page_series) * chunk_buckets + bucket
    local found = data and find_row(data, cell, row_bytes)
    if found then
      local sums = add(data, found + 2, delta, at + 10, count, values)
      if not sums then return false end
      writes[size + 1], writes[size + 2], writes[size + 3], writes[size + 4] =
        key, 'SETRANGE', found + 1, sums -- past the cell's two bytes
      size = size + 4
    else
      added[#added + 1] = struct.pack('<I2', cell) .. string.sub(delta, at + 10, at + entry_bytes - 1)
    end
  end
  finish()
  return true
end

local function write_pages(writes)
  for index = 1, #writes, 4 do
    local key, kind, where, bytes = writes[index], writes[index + 1], writes[index + 2],
      writes[index + 3]
    if kind == 'SETRANGE' then
      redis.call('SETRANGE', key, where, bytes)
    elseif kind == 'APPEND' then
      redis.call('APPEND', key, bytes)
    else
      redis.call('SET', key, bytes, 'PXAT', string.format('%.0f', where))
    end
  end
end

-- Ids of names, new ones in order of appearance: {id, ...}. Nothing is written: new names are
-- collected in `fresh`. `scopes` remembers what this call has looked up.
local function look_up(prefix, hash, list, name, scopes, fresh)
  local scope = scopes[hash]
  if not scope then
    scope = {ids = {}, next = redis.call('HLEN', prefix .. hash)}
    scopes[hash] = scope
  end
  local id = scope.ids[name]
  if id then return id end
  local known = redis.call('HGET', prefix .. hash, name)
  if known then
    id = tonumber(known)
  else
    id = scope.next
    scope.next = id + 1
    fresh[#fresh + 1] = {hash, list, name, id}
  end
  scope.ids[name] = id
  return id
end

local function resolve(prefix, control, fresh)
  local scopes, tenants, series = {}, {}, {}
  for index, name in ipairs(control.tenants) do
    tenants[index] = look_up(prefix, 't', 'tl', name, scopes, fresh)
  end
  for index, entry in ipairs(control.series) do
    local tenant = tenants[entry[2] + 1]
    local scope = entry[1] .. '.' .. tenant
    series[index] = {
      tenant = tenant, -- and `page`, the end of its key, once it is known
      id = look_up(prefix, 'n' .. scope, 'l' .. scope, entry[3], scopes, fresh),
    }
  end
  return series
end

local function window(meta, slice)
  return math.max(slice - NEIGHBOURS, meta.slice_low), math.min(slice + NEIGHBOURS, meta.slice_high)
end

-- Which of the commit's event digests are remembered.
local function remembered(prefix, meta, ids)
  local hits = {}
  for _, group in ipairs(ids) do
    local first, last = window(meta, group[1])
    for slice = first, last do
      local found = redis.call('SMISMEMBER', prefix .. 'i' .. slice .. '.' .. group[2],
        unpack(group, 3))
      for index, is_member in ipairs(found) do
        if is_member == 1 then hits[#hits + 1] = group[index + 2] end
      end
    end
  end
  return hits
end

-- Which of the commit's calls are no longer booked as the worker read them.
local function moved_calls(prefix, meta, calls)
  local moved = {}
  for _, call in ipairs(calls) do
    local digest, bucket, old_slice, old, new_slice = unpack(call)
    local same = true
    if old_slice >= 0 then
      same = redis.call('HGET', prefix .. 'c' .. old_slice .. '.' .. bucket, digest) == old
    else
      local first, last = window(meta, new_slice)
      for slice = first, last do
        if redis.call('HEXISTS', prefix .. 'c' .. slice .. '.' .. bucket, digest) == 1 then
          same = false
        end
      end
    end
    if not same then moved[#moved + 1] = digest end
  end
  return moved
end

local function note_slice(meta, slice)
  if meta.slice_high == 0 or slice > meta.slice_high then meta.slice_high = slice end
  if meta.slice_low == 0 or slice < meta.slice_low then
    meta.slice_low = slice
    meta.cursor = 0
  end
end

-- Drops slices that no record to come can look into, a bounded piece a call. They go by the
-- progress of the log, never by the clock: workers that were away for days still find them.
local function drop_slices(prefix, meta, slice_ms, id_buckets, call_buckets)
  local complete
  for _, part in ipairs(meta.parts) do
    if not complete or part.complete < complete then complete = part.complete end
  end
  if not complete or meta.slice_low == 0 then return end
  if meta.slice_low + NEIGHBOURS >= math.floor(complete / slice_ms) then return end
  local last = math.min(meta.cursor + DROPPED_BUCKETS_MAX, id_buckets + call_buckets) - 1
  for bucket = meta.cursor, last do
    if bucket < id_buckets then
      redis.call('UNLINK', prefix .. 'i' .. meta.slice_low .. '.' .. bucket)
    else
      redis.call('UNLINK', prefix .. 'c' .. meta.slice_low .. '.' .. (bucket - id_buckets))
    end
  end
  meta.cursor = last + 1
  if meta.cursor >= id_buckets + call_buckets then
    meta.cursor = 0
    meta.slice_low = meta.slice_low + 1
  end
end

local function write_tallies(prefix, tallies)
  local key = prefix .. 'tallies'
  for _, tally in ipairs(tallies) do
    local name = tally[1]
    if redis.call('HEXISTS', key, name) == 0 and redis.call('HLEN', key) >= TALLIES_MAX then
      name = string.match(name, '^[^:]*') .. ':other'
    end
    redis.call('HINCRBY', key, name, string.format('%.0f', tally[2]))
  end
end

-- What the commit's words make of the users of their tenants, beside all generations; nothing is
-- written yet. Those that find no room are tallied.
local function plan_words(meta_key, control)
  local head, writes, turned_away = string.match(meta_key, '^{[^}]*}:') .. 'd:', {}, 0
  for _, said in ipairs(control.people) do
    turned_away = turned_away + plan_people(
      head .. 'u:' .. said[1], head .. 'a:' .. said[1], said[2], control.users_max, false, writes)
  end
  if turned_away > 0 then
    control.tallies[#control.tallies + 1] = {'directory_full', turned_away}
  end
  return writes
end

-- The latest calls of each tenant: a sorted set by time, cut to its limit from the oldest end.
local function note_recent(prefix, control)
  for _, calls in ipairs(control.recent) do
    local key = prefix .. 'r:' .. calls[1]
    for from = 1, #calls[2], AT_ONCE do
      redis.call('ZADD', key, unpack(calls[2], from, math.min(from + AT_ONCE - 1, #calls[2])))
    end
    redis.call('ZREMRANGEBYRANK', key, 0, -control.recent_max - 1)
  end
end

-- The first check: nil, or the reply that says what does not match.
local function mismatch(meta, digest, commit_id, parts)
  if not meta then return {'missing'} end
  if meta.state == RETIRED then return {'retired'} end
  if meta.digest ~= digest then return {'digest'} end
  for _, part in ipairs(parts) do
    local stored = meta.parts[part[1] + 1]
    if stored and stored.commit == commit_id then return {'mine'} end
  end
  local stale = {}
  for _, part in ipairs(parts) do
    local stored = meta.parts[part[1] + 1]
    if (stored and stored.position or -1) ~= part[2] then stale[#stale + 1] = part[1] end
  end
  if #stale > 0 then return {'stale', unpack(stale)} end
  return nil
end

-- commit KEYS[1] = meta; ARGV = generation digest (16 B), commit id (16 B), control (JSON), then
-- one packed array of deltas (layout.delta_dtype) for each of control.pages; no two of its entries
-- are of one series and bucket, and those of one series and chunk lie together.
-- control: now_ms, count (partitions of the topic), absent_ms {{partition, ms}},
--   partitions {{partition, start, end, witness_offset, witness_append_ms, complete_ms}},
--   ids {{slice, bucket, id, ...}}, calls {{digest, bucket, old_slice | -1, old, new_slice, new}},
--   tenants {name}, series {{view, tenant index, name}}, tallies {{name, n}},
--   pages {{view, tier, measures, chunk_buckets, page_series, chunk_ms, kept_ms}},
--   people {{tenant, {word}}} (schemas/directory.py), users_max,
--   recent {{tenant, {ms, member, ...}}} (schemas/recent.py), recent_max,
--   chats {{tenant, characters, {note}}} (chats.lua), chats_max, chat_models_max,
--   slice_ms, id_buckets, call_buckets,
--   at_commits (how many commits the generation must have taken, else 'stale'; null: any)
-- Returns {'committed'} | {'mine'} (a reply was lost) | {'stale', partition...} |
--   {'remembered', id...} | {'calls', digest...} | {'overflow'} | {'missing'} | {'retired'} |
--   {'digest'} | {'held'} (a rebuild takes over old buckets: try again soon); in all but the first
--   nothing was written.
local function commit(keys, args)
  local prefix = prefix_of(keys[1])
  local control = cjson.decode(args[3])
  local meta = read_meta(keys[1])
  local refusal = mismatch(meta, args[1], args[2], control.partitions)
  if refusal then return refusal end
  if control.at_commits ~= cjson.null and control.at_commits ~= meta.commits then
    return {'stale'}
  end
  if redis.call('EXISTS', prefix .. 'hold') == 1 then return {'held'} end
  local hits = remembered(prefix, meta, control.ids)
  if #hits > 0 then return {'remembered', unpack(hits, 1, math.min(#hits, 5000))} end
  local moved = moved_calls(prefix, meta, control.calls)
  if #moved > 0 then return {'calls', unpack(moved, 1, math.min(#moved, 5000))} end
  local fresh, writes = {}, {}
  local series = resolve(prefix, control, fresh)
  for index, spec in ipairs(control.pages) do
    if not add_deltas(prefix, spec, args[3 + index], series, writes) then return {'overflow'} end
  end
  local words = plan_words(keys[1], control)

  for _, name in ipairs(fresh) do
    redis.call('HSET', prefix .. name[1], name[3], name[4])
    redis.call('RPUSH', prefix .. name[2], name[3])
  end
  meta.names = meta.names + #fresh
  write_pages(writes)
  write_people(words)
  note_recent(prefix, control)
  note_chats(keys[1], control)
  for _, group in ipairs(control.ids) do
    redis.call('SADD', prefix .. 'i' .. group[1] .. '.' .. group[2], unpack(group, 3))
    note_slice(meta, group[1])
  end
  for _, call in ipairs(control.calls) do
    local digest, bucket, old_slice, _, new_slice, new = unpack(call)
    if old_slice >= 0 and old_slice ~= new_slice then
      redis.call('HDEL', prefix .. 'c' .. old_slice .. '.' .. bucket, digest)
    end
    redis.call('HSET', prefix .. 'c' .. new_slice .. '.' .. bucket, digest, new)
    note_slice(meta, new_slice)
  end
  write_tallies(prefix, control.tallies)
  extend(meta, control.count, control.absent_ms)
  for _, part in ipairs(control.partitions) do
    local stored = meta.parts[part[1] + 1]
    stored.commit = args[2]
    if part[4] >= 0 then stored.witness_offset, stored.witness_append = part[4], part[5] end
    stored.complete = math.max(stored.complete, part[6])
    if stored.position ~= part[3] then stored.committed = control.now_ms end
    stored.position = part[3]
    if stored.refused ~= 0 then
      stored.refused = 0
      redis.call('HDEL', prefix .. 'refusals', part[1])
    end
  end
  if meta.refused ~= 0 then
    meta.refused = 0
    redis.call('HDEL', prefix .. 'refusals', 'generation')
  end
  meta.commits = meta.commits + 1
  drop_slices(prefix, meta, control.slice_ms, control.id_buckets, control.call_buckets)
  write_meta(keys[1], meta)
  return {'committed'}
end

local function new_meta(digest, now_ms)
  return {state = LIVE, digest = digest, cursor = 0, history_from = 0, commits = 0, slice_low = 0,
    slice_high = 0, names = 0, created = now_ms, refused = 0, parts = {}}
end

-- open KEYS[1] = meta, KEYS[2] = current; ARGV = digest, generation, partitions, now_ms, about.
-- Makes the generation where there is none. Returns 1 if it was made, 0 if it was there; an error
-- where counters stand without their meta: positions that start anew would count them twice.
local function open(keys, args)
  if redis.call('EXISTS', keys[1]) == 1 then return 0 end
  if redis.call('EXISTS', prefix_of(keys[1]) .. 'tl') == 1 then
    return redis.error_reply('ORPHANS counters stand under ' .. keys[1] .. ' but it is gone: '
      .. 'bring the whole store back from one copy, or remove all of its keys')
  end
  local meta = new_meta(args[1], tonumber(args[4]))
  extend(meta, tonumber(args[3]), {})
  write_meta(keys[1], meta)
  redis.call('SET', prefix_of(keys[1]) .. 'about', args[5])
  redis.call('SETNX', keys[2], args[2])
  return 1
end

-- refuse KEYS[1] = meta; ARGV = partition ("generation" for all), code, JSON of the details,
-- the position it is about (-1 none). Returns 1, or 0 where there is nothing to write it on or the
-- position has moved meanwhile.
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

-- accept KEYS[1] = meta; ARGV = partition, expected position, new position, history_from_ms.
-- An operator's word that counting goes on at the new position. Returns 1, or 0 where the position
-- has moved meanwhile.
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

-- bookings KEYS[1] = meta; ARGV = JSON {{digest, bucket, slice}}. Read only.
-- Returns for each: the slice that holds it and its booking, or -1 and ''.
local function bookings(keys, args)
  local prefix = prefix_of(keys[1])
  local meta = read_meta(keys[1])
  local out = {}
  for _, call in ipairs(cjson.decode(args[1])) do
    local held, booking = -1, ''
    if meta then
      local first, last = window(meta, call[3])
      for slice = first, last do
        local found = redis.call('HGET', prefix .. 'c' .. slice .. '.' .. call[2], call[1])
        if found then held, booking = slice, found end
      end
    end
    out[#out + 1] = held
    out[#out + 1] = booking
  end
  return out
end

-- begin KEYS = meta of the generation that answers, meta of the next, current, generations;
-- ARGV = their numbers, digest, now_ms, JSON of the positions to begin at (-1 none), history_from_ms,
-- about, JSON for the hash of generations. Returns 1, or 0 where another generation answers by now
-- or the next one is there already.
local function begin(keys, args)
  if redis.call('GET', keys[3]) ~= args[1] or redis.call('EXISTS', keys[2]) == 1 then return 0 end
  local meta = new_meta(args[3], tonumber(args[4]))
  meta.history_from = tonumber(args[6])
  local positions = cjson.decode(args[5])
  extend(meta, #positions, {})
  for index, position in ipairs(positions) do meta.parts[index].position = position end
  write_meta(keys[2], meta)
  redis.call('SET', prefix_of(keys[2]) .. 'about', args[7])
  redis.call('HSET', keys[4], args[2], args[8])
  return 1
end

-- switch KEYS as of begin; ARGV = their numbers, now_ms, JSON for the hash of generations of the one
-- that answers until now. Retires it and lets the next answer, if that has counted at least as much
-- of every partition. What the one knew to be complete, the other has counted too. Returns
-- {'switched'} (also where it had been) | {'replaced'} (another one answers) | {'missing'} |
-- {'behind', partition...}.
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
-- Of a generation that does not answer: nothing is committed to it from now on. Returns 1, or 0
-- where it answers.
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

redis.register_function('odometer_begin_@VERSION@', begin)
redis.register_function('odometer_retire_@VERSION@', retire)
redis.register_function('odometer_switch_@VERSION@', switch)
redis.register_function('odometer_commit_@VERSION@', commit)
redis.register_function('odometer_open_@VERSION@', open)
redis.register_function('odometer_refuse_@VERSION@', refuse)
redis.register_function('odometer_accept_@VERSION@', accept)
redis.register_function{
  function_name = 'odometer_bookings_@VERSION@', callback = bookings, flags = {'no-writes'},
}
