-- The commit: it moves the positions and writes all that was counted up to them. Registers
-- `commit`.
--
-- KEYS[1] = meta. ARGV: see `commit`. Units: times are ms since 1970. Returns: see `commit`.

local TALLIES_MAX = 1000 -- names of one kind, such as unknown: invented names fill no other kind
local TENANT_TALLIES_MAX = 100 -- of them, those that came from one tenant
local COUNTED_TENANTS_MAX = 10000 -- in a slice, as many as have counters: invented ones fill no hash
local RECENT_TRAILER, RECENT_TRAILER_BYTES = '<I2i8', 10

-- Whether a new name has room; if so, it is counted for its kind and its tenant.
local function admit_name(counts_key, kind, tenant)
  local function count_of(field) return tonumber(redis.call('HGET', counts_key, field) or 0) end
  local share = kind .. ':' .. tenant
  if count_of(kind) >= TALLIES_MAX then return false end
  if tenant ~= '' and count_of(share) >= TENANT_TALLIES_MAX then return false end
  redis.call('HINCRBY', counts_key, kind, 1)
  if tenant ~= '' then redis.call('HINCRBY', counts_key, share, 1) end
  return true
end

local function write_tallies(prefix, tallies)
  local key, counts_key = prefix .. 'tallies', prefix .. 'tallies.names'
  for _, tally in ipairs(tallies) do
    local name = tally[1]
    local kind = string.match(name, '^([^:]*):')
    if kind and redis.call('HEXISTS', key, name) == 0
      and not admit_name(counts_key, kind, tally[3] or '') then
      name = kind .. ':other'
    end
    redis.call('HINCRBY', key, name, string.format('%.0f', tally[2]))
  end
end

-- How many ids each tenant has in a slice: the API compares them with the tenant's quota.
local function count_ids(prefix, counts)
  for _, one in ipairs(counts) do
    local slice, tenant, count = unpack(one)
    local key = prefix .. 'q.ids.' .. text_of(slice)
    if redis.call('HEXISTS', key, tenant) == 1 or redis.call('HLEN', key) < COUNTED_TENANTS_MAX then
      redis.call('HINCRBY', key, tenant, count)
    end
  end
end

-- What the commit's user updates change. Users lie beside all generations. It writes nothing yet.
-- Users that find no room are tallied.
local function plan_words(meta_key, control)
  local head, writes, turned_away = string.match(meta_key, '^{[^}]*}:') .. 'd:', {}, 0
  for _, said in ipairs(control.people) do
    turned_away = turned_away + plan_users(
      head .. 'u:' .. said[1], head .. 'a:' .. said[1], said[2], control.users_max, false, writes)
  end
  if turned_away > 0 then
    control.tallies[#control.tallies + 1] = {'directory_full', turned_away}
  end
  return writes
end

-- The latest calls of each tenant (schemas/store/recent_calls.py). Adds their records, which lie in
-- `data` one after the other. If more than recent_held calls are there, it evicts the oldest records as
-- long as the others have recent_max calls.
local function note_recent(prefix, control, data, commits)
  local upto = 0
  for _, of_tenant in ipairs(control.recent) do
    local key, records, some = prefix .. 'r:' .. of_tenant[1], of_tenant[2], {}
    local total = -tonumber(redis.call('ZSCORE', key, '') or 0)
    for at = 1, #records, 3 do
      local calls, from = records[at + 1], upto + 1
      upto, total = upto + records[at + 2], total + calls
      some[#some + 1] = records[at]
      some[#some + 1] = string.sub(data, from, upto) .. struct.pack(RECENT_TRAILER, calls, commits)
      if #some == AT_ONCE then
        redis.call('ZADD', key, unpack(some))
        some = {}
      end
    end
    redis.call('ZADD', key, -total, '', unpack(some))
    local evicted = 0
    while total > control.recent_max and (evicted > 0 or total > control.recent_held) do
      local oldest = redis.call('ZRANGE', key, evicted + 1, evicted + 1)[1] -- '' is before all
      if not oldest then break end
      local calls = struct.unpack(RECENT_TRAILER, oldest, #oldest - RECENT_TRAILER_BYTES + 1)
      if total - calls < control.recent_max then break end
      total, evicted = total - calls, evicted + 1
    end
    if evicted > 0 then
      redis.call('ZREMRANGEBYRANK', key, 1, evicted)
      redis.call('ZADD', key, -total, '')
    end
  end
end

-- The newest minute that has an event (schemas/store/added_views.py). Counters of an earlier version did not
-- note it: what they have is at most ahead_ms after now.
local function note_newest(prefix, control)
  local key = prefix .. 'newest'
  local known = redis.call('GET', key)
  local newest = math.max(control.newest_ms, known and tonumber(known) or control.now_ms + control.ahead_ms)
  if not known or newest > tonumber(known) then redis.call('SET', key, text_of(newest)) end
end

-- All that a commit writes except its event ids. Returns the length of the compaction queue.
local function write(keys, args, control, meta, words)
  local prefix = prefix_of(keys[1])
  local queue = {}
  for index, entry in ipairs(control.parts) do
    append_part(prefix, entry, args[3 + 2 * index], args[4 + 2 * index], meta, queue)
  end
  local queue_length = queue_pages(prefix, queue)
  write_users(words)
  note_recent(prefix, control, args[4], meta.commits + 1)
  note_chats(keys[1], control)
  count_ids(prefix, control.id_counts)
  if #control.parts > 0 then note_newest(prefix, control) end
  for _, of_slice in ipairs(control.ids) do note_slice(meta, of_slice[1]) end
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
  local oldest = meta.slice_low
  drop_slices(prefix, meta, control.slice_ms, control.id_buckets, control.call_buckets)
  if meta.slice_low > oldest then redis.call('UNLINK', prefix .. 'q.ids.' .. text_of(oldest)) end
  write_meta(keys[1], meta)
  return queue_length
end

-- commit KEYS[1] = meta; ARGV = generation digest (16 B), commit id (16 B), control (JSON), the
-- data of all records of control.recent, then for each of control.parts its pages (PAGE_DTYPE in
-- schemas/store/layout.py) and their rows (`packed` there).
-- control: now_ms, count (partitions of the topic), absent_ms {{partition, ms}},
--   partitions {{partition, start, end, witness_offset, witness_append_ms, complete_ms}},
--   ids {{slice, {bucket, id, ...} of sets that get one id, {{bucket, id, id, ...}} of others}},
--   id_counts {{slice, tenant, n}} (of the ids),
--   calls {{digest:tenant, bucket, old_slice | -1, old, new_slice, new}},
--   secret (the name of the one that digests are made under; else 'stale'),
--   tallies {{name, n[, the tenant that it came from]}},
--   epoch and names (which the ids of its pages belong to, from `names`),
--   closed (meta.closed, which its parts were made for),
--   newest_ms (the minute of the newest event in its parts), ahead_ms (how far an event may be ahead),
--   parts {{head, tier, ...}} (`spec_of` in pages.lua),
--   people {{tenant, {word}}} (schemas/store/directory.py), users_max,
--   recent {{tenant, {ms, calls, bytes, ...}}} (schemas/store/recent_calls.py), recent_max, recent_held,
--   chats {{tenant, characters, {note}}} (chats.lua), chats_max, chat_models_max,
--   slice_ms, id_buckets, call_buckets,
--   at_commits (how many commits the generation must have taken, else 'stale'; null: any)
-- Returns {'committed', length of the compaction queue} | {'mine'} (applied before; a lost reply)
--   | {'stale', partition...} | {'remembered', id...} (duplicates)
--   | {'calls', digest:tenant...} (changed)
--   | {'missing'} | {'retired'} | {'digest'} | {'held'} (a rebuild copies old buckets: retry soon)
--   | {'unnamed'} (its ids are of another epoch) | {'closed', ms, ms} (meta.closed has moved).
-- All but the first have written nothing.
local function commit(keys, args)
  local prefix = prefix_of(keys[1])
  local control = cjson.decode(args[3])
  local meta = read_meta(keys[1])
  local refusal = refused(prefix, meta, args, control)
  if refusal then return refusal end
  if #control.parts > 0 and (control.epoch ~= epoch_of(meta) or control.names > meta.names) then
    return {'unnamed'}
  end
  local closed = meta.closed
  if #control.parts > 0
    and (control.closed[1] ~= closed[1] or control.closed[2] ~= closed[2]) then
    return {'closed', text_of(closed[1]), text_of(closed[2])}
  end
  local hits = remembered(prefix, meta, control.ids, false)
  local moved = moved_calls(prefix, meta, control.calls)
  if #hits + #moved > 0 then
    hits = remembered(prefix, meta, control.ids, true)
    return #hits > 0 and reply_of('remembered', hits) or reply_of('calls', moved)
  end
  local words = plan_words(keys[1], control)
  hits = remember(prefix, control.ids)
  if #hits > 0 then return reply_of('remembered', hits) end

  -- An error here would occur again on a retry. If the ids stayed, the retry would be a duplicate.
  local is_written, queue_length = pcall(write, keys, args, control, meta, words)
  if not is_written then
    forget(prefix, control.ids, {})
    error(queue_length)
  end
  return {'committed', queue_length}
end

redis.register_function('odometer_commit_@VERSION@', commit)
