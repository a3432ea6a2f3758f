-- What is remembered for a while, by slices of time: the digests of event ids, so that a duplicate
-- is not counted again, and calls. Registers `bookings`.
--
-- KEYS[1] = meta. ARGV: see `bookings`. Units: a slice is a time in ms / slice_ms. Returns: see
-- `bookings`.

local NEIGHBOURS = 2 -- slices before and after a record's own that may hold a duplicate: W / slice
local DROPPED_BUCKETS_MAX = 256 -- of an old slice in one call: 256 UNLINKs take 0.1 ms

local function window(meta, slice)
  return math.max(slice - NEIGHBOURS, meta.slice_low), math.min(slice + NEIGHBOURS, meta.slice_high)
end

-- The prefix of the sets of ids of a slice; a bucket follows.
local function ids_stem(prefix, slice)
  return prefix .. 'i' .. text_of(slice) .. '.'
end

-- Which event digests of the commit are remembered. all: check all of them. Otherwise it leaves out
-- ids that are alone in a set of their own slice: `remember` checks those.
local function remembered(prefix, meta, ids, all)
  local hits = {}
  for _, of_slice in ipairs(ids) do
    local own, singles, groups = unpack(of_slice)
    local first, last = window(meta, own)
    for slice = first, last do
      local stem = ids_stem(prefix, slice)
      if all or slice ~= own then
        for at = 1, #singles, 2 do
          if redis.call('SISMEMBER', stem .. singles[at], singles[at + 1]) == 1 then
            hits[#hits + 1] = singles[at + 1]
          end
        end
      end
      for _, group in ipairs(groups) do
        local found = redis.call('SMISMEMBER', stem .. group[1], unpack(group, 2))
        for index, is_member in ipairs(found) do
          if is_member == 1 then hits[#hits + 1] = group[index + 1] end
        end
      end
    end
  end
  return hits
end

-- Removes digests again, except those in `kept`.
local function forget(prefix, ids, kept)
  for _, of_slice in ipairs(ids) do
    local slice, singles, groups = unpack(of_slice)
    local stem = ids_stem(prefix, slice)
    for at = 1, #singles, 2 do
      if not kept[singles[at + 1]] then
        redis.call('SREM', stem .. singles[at], singles[at + 1])
      end
    end
    for _, group in ipairs(groups) do redis.call('SREM', stem .. group[1], unpack(group, 2)) end
  end
end

-- The last check and the first write: adds the commit's event digests. SADD says whether a digest
-- was there already, which takes half the calls of asking first. Returns the digests that were
-- there; in that case the sets are left as they were.
local function remember(prefix, ids)
  local hits, is_hit = {}, {}
  for _, of_slice in ipairs(ids) do
    local slice, singles, groups = unpack(of_slice)
    local stem = ids_stem(prefix, slice)
    for at = 1, #singles, 2 do
      if redis.call('SADD', stem .. singles[at], singles[at + 1]) == 0 then
        hits[#hits + 1] = singles[at + 1]
        is_hit[singles[at + 1]] = true
      end
    end
    for _, group in ipairs(groups) do redis.call('SADD', stem .. group[1], unpack(group, 2)) end
  end
  if #hits > 0 then forget(prefix, ids, is_hit) end
  return hits
end

-- Which calls of the commit are no longer stored as the worker read them.
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

-- Drops slices that no later record can look into, a limited number of buckets a call. The progress
-- of the log decides, never the clock: workers that were down for days still find their slices.
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

-- bookings KEYS[1] = meta; ARGV = JSON {{digest:tenant, bucket, slice}}, the name of the secret
-- that digests are made under. Reads only. Returns for each call: the slice that holds it and the
-- stored call, or -1 and ''. Under another secret it finds none, and the commit will be stale.
local function bookings(keys, args)
  local prefix = prefix_of(keys[1])
  local meta = has_secret(prefix, args[2]) and read_meta(keys[1])
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

redis.register_function{
  function_name = 'odometer_bookings_@VERSION@', callback = bookings, flags = {'no-writes'},
}
