-- The writes of the store: each of these functions is one atomic step. Its Python side is
-- streams/redis/store.py; keys, rows and the meta record are described in schemas/store/layout.py.
--
-- The library's name carries a digest of this text and a library is never replaced in place: two
-- versions of a worker each call the code that they were tested with.
--
-- Numbers: Lua has doubles only, exact up to 2^53. Positions, times and counts of names stay far
-- below. Sums of measures may not: rows come and go as bytes.
-- An error inside a script is not rolled back, so each function checks everything, then writes.

local HEADER = '<c4I4c16I4I4i8i8i8i8i8i8i8c8'
local PADDING = '\0\0\0\0\0\0\0\0'
local HEADER_BYTES = 96
local PARTITION = '<i8c16i8i8i8i8i8'
local PARTITION_BYTES = 64
local MAGIC, LIVE, RETIRED = 'ODO1', 1, 2
local NO_COMMIT = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' -- libraries are not there yet at load
local COMPACT_SLOT = '\255\255' -- of the row that says how long a compact page was
local TEXTS_MAX = 20000 -- 60 B each
local NAMES_MAX = 1000 -- arguments of one command: the stack holds 8,000
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

-- How long a page was when it was last made compact; 0 where it never was.
local function compact_length(key)
  local head = redis.call('GETRANGE', key, 0, 5)
  if string.sub(head, 1, 2) ~= COMPACT_SLOT then return 0 end
  return (struct.unpack('<I4', head, 3))
end

-- Whole numbers as text, remembered: Lua prints each anew in a third of a microsecond.
local texts, texts_count = {}, 0
local function text_of(number)
  local text = texts[number]
  if not text then
    if texts_count >= TEXTS_MAX then texts, texts_count = {}, 0 end
    text = string.format('%.0f', number)
    texts[number] = text
    texts_count = texts_count + 1
  end
  return text
end

-- Appends rows to a page of a chunk. Its first ones make it, and its predecessor in time is due to
-- be made compact; so is a page that has outgrown its room.
local function append(chunk, page, bytes, spec, due)
  local key = chunk.key .. page
  local length = redis.call('APPEND', key, bytes)
  if length == #bytes then
    redis.call('PEXPIREAT', key, chunk.expires)
    due[#due + 1] = chunk.before .. page .. spec.form .. ' 1'
  elseif length > spec.room
    and math.floor(length / spec.room) ~= math.floor((length - #bytes) / spec.room)
    and length >= 2 * compact_length(key) + spec.room then
    due[#due + 1] = chunk.name .. page .. spec.form .. ' 0'
  end
end

-- A chunk of a tenant that the commit appends to; its version says so.
local function touched(prefix, stem, number, tenant, commits, spec)
  local name = stem .. text_of(number) .. '.' .. text_of(tenant)
  local expires = text_of((number + 1) * spec.chunk_ms + spec.kept_ms)
  local chunk_version = prefix .. 'v' .. name
  if redis.call('SETRANGE', chunk_version, 0, struct.pack('<i8', commits)) == 8 then
    redis.call('SETRANGE', chunk_version, 8, struct.pack('<i8', 0))
    redis.call('PEXPIREAT', chunk_version, expires)
  end
  return {number = number, tenant = tenant, name = name .. '.', key = prefix .. name .. '.',
    before = stem .. text_of(number - 1) .. '.' .. text_of(tenant) .. '.', expires = expires}
end

-- One of control.parts: its rows go to its pages, those of a tenant and chunk side by side.
local function append_part(prefix, entry, pages, rows, commits, due)
  local head, tier, room, chunk_ms, kept_ms, key_bytes, count, number_bytes = unpack(entry)
  local row_bytes = key_bytes + count * number_bytes
  local spec = {chunk_ms = chunk_ms, kept_ms = kept_ms, room = room,
    form = ' ' .. key_bytes .. ' ' .. count .. ' ' .. number_bytes}
  local stem, from, chunk = head .. '.' .. tier .. '.', 1, {}
  for at = 1, #pages, 16 do
    local number, tenant, page, n = struct.unpack('<I4I4I4I4', pages, at)
    if number ~= chunk.number or tenant ~= chunk.tenant then
      chunk = touched(prefix, stem, number, tenant, commits, spec)
    end
    local upto = from + n * row_bytes
    append(chunk, text_of(page), string.sub(rows, from, upto - 1), spec, due)
    from = upto
  end
end

-- Notes pages that are due to be made compact. Returns how many are.
local function note_due(prefix, due)
  local key = prefix .. 'due'
  for from = 1, #due, NAMES_MAX do
    redis.call('RPUSH', key, unpack(due, from, math.min(#due, from + NAMES_MAX - 1)))
  end
  return redis.call('LLEN', key)
end

-- Ids of names in a hash, new ones in order of appearance up to `most`; those beyond it share that
-- of `other`. Returns {id, ...} and {index = true} of those. Nothing is written: what is new is
-- collected in `fresh` ({hash = {list =, name...}}), and remembered in `scopes` for the rest of this call.
local function look_up(prefix, hash, list, names, most, other, scopes, fresh)
  local scope = scopes[hash]
  if not scope then
    scope = {free = redis.call('HLEN', prefix .. hash), new = {}}
    scopes[hash] = scope
  end
  local function id_of(name, stored)
    if stored then return tonumber(stored) end
    if scope.new[name] then return scope.new[name] end
    if scope.free >= most and name ~= other then return nil end
    local own = fresh[hash]
    if not own then
      own = {list = list}
      fresh[hash] = own
    end
    own[#own + 1] = name
    scope.new[name] = scope.free
    scope.free = scope.free + 1
    return scope.new[name]
  end
  local ids, beyond = {}, {}
  for from = 1, #names, NAMES_MAX do
    local upto = math.min(#names, from + NAMES_MAX - 1)
    local stored = redis.call('HMGET', prefix .. hash, unpack(names, from, upto))
    for index = from, upto do
      local id = id_of(names[index], stored[index - from + 1])
      if not id then
        id = id_of(other, redis.call('HGET', prefix .. hash, other))
        beyond[index] = true
      end
      ids[index] = id
    end
  end
  return ids, beyond
end

-- Writes new names, which follow those that a list has. Returns how many they are.
local function write_names(prefix, fresh)
  local count = 0
  for hash, own in pairs(fresh) do
    local id = redis.call('HLEN', prefix .. hash)
    for from = 1, #own, NAMES_MAX do
      local upto, pairs_ = math.min(#own, from + NAMES_MAX - 1), {}
      for index = from, upto do
        pairs_[#pairs_ + 1] = own[index]
        pairs_[#pairs_ + 1] = id
        id = id + 1
      end
      redis.call('HSET', prefix .. hash, unpack(pairs_))
      redis.call('RPUSH', prefix .. own.list, unpack(own, from, upto))
    end
    count = count + #own
  end
  return count
end

-- What ids are valid for: this life of the server (a Lua variable, so gone with it: it may come back
-- from an older copy) and this life of the counters. A caller proposes a new one where there is none.
local server_epoch
local function epoch_of(meta, proposed)
  if not server_epoch then server_epoch = proposed end
  return (server_epoch or '') .. string.format('.%.0f', meta.created)
end

-- A reply about some of what a commit carries: Lua's stack holds 8,000.
local function reply_of(outcome, subjects)
  return {outcome, unpack(subjects, 1, math.min(#subjects, 5000))}
end

local function window(meta, slice)
  return math.max(slice - NEIGHBOURS, meta.slice_low), math.min(slice + NEIGHBOURS, meta.slice_high)
end

-- The sets of ids of a slice, without their bucket.
local function ids_stem(prefix, slice)
  return prefix .. 'i' .. text_of(slice) .. '.'
end

-- Which of the commit's event digests are remembered: all that are, or all but those that are alone
-- in a set of their own slice, whose turn comes in `remember`.
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

-- Takes digests out again, but for those in `kept`.
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

-- The last check, and the first write: remembers the commit's event digests. That one was there
-- already is what SADD says of it, which is half the calls of asking before. Returns those, and then
-- leaves the sets as they were.
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
local function note_recent(prefix, control, members)
  local upto = 0
  for _, calls in ipairs(control.recent) do
    local key, some = prefix .. 'r:' .. calls[1], {}
    for at = 1, #calls[2], 2 do
      local from = upto + 1
      upto = upto + calls[2][at + 1]
      some[#some + 1] = calls[2][at]
      some[#some + 1] = string.sub(members, from, upto)
      if #some == AT_ONCE or at + 1 == #calls[2] then
        redis.call('ZADD', key, unpack(some))
        some = {}
      end
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

-- The checks of a commit before those of its ids: nil, or the reply.
local function refused(prefix, meta, args, control)
  local refusal = mismatch(meta, args[1], args[2], control.partitions)
  if refusal then return refusal end
  if control.at_commits ~= cjson.null and control.at_commits ~= meta.commits then
    return {'stale'}
  end
  if redis.call('EXISTS', prefix .. 'hold') == 1 then return {'held'} end
  return nil
end

-- names KEYS[1] = meta; ARGV = generation digest, commit id, control (JSON): partitions and at_commits
-- as of commit, epoch (a new one to begin where the server has none), tenants {name}, tenants_max,
-- other (a tenant's name), series {{table, tenant index, series_max, name of the other, {name}}}.
-- Gives ids to what has none, before the commit that counts it: of a commit that then does not come
-- there is a name with no counters. Returns {'named', epoch, names of the generation, id...} of the
-- tenants, then of the series, -1 - id for what is beyond its limit; or what commit returns.
local function names(keys, args)
  local prefix, control, meta = prefix_of(keys[1]), cjson.decode(args[3]), read_meta(keys[1])
  local refusal = refused(prefix, meta, args, control)
  if refusal then return refusal end
  local scopes, fresh, out = {}, {}, {'named', epoch_of(meta, control.epoch), 0}
  local function note(ids, is_beyond)
    for index, id in ipairs(ids) do out[#out + 1] = is_beyond[index] and -1 - id or id end
  end
  local tenants, beyond = look_up(prefix, 't', 'tl', control.tenants, control.tenants_max,
    control.other, scopes, fresh)
  note(tenants, beyond)
  for _, group in ipairs(control.series) do
    local table_id, tenant_index, most, other, wanted = unpack(group)
    local scope = table_id .. '.' .. tenants[tenant_index + 1]
    note(look_up(prefix, 'n' .. scope, 'l' .. scope, wanted, most, other, scopes, fresh))
  end
  local count = write_names(prefix, fresh)
  if count > 0 then
    meta.names = meta.names + count
    write_meta(keys[1], meta)
  end
  out[3] = meta.names
  return out
end

-- All that a commit writes but for the ids. Returns how many pages are due to be made compact.
local function write(keys, args, control, meta, words)
  local prefix = prefix_of(keys[1])
  local due = {}
  for index, entry in ipairs(control.parts) do
    append_part(prefix, entry, args[3 + 2 * index], args[4 + 2 * index], meta.commits + 1, due)
  end
  local due_count = note_due(prefix, due)
  write_people(words)
  note_recent(prefix, control, args[4])
  note_chats(keys[1], control)
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
  drop_slices(prefix, meta, control.slice_ms, control.id_buckets, control.call_buckets)
  write_meta(keys[1], meta)
  return due_count
end

-- commit KEYS[1] = meta; ARGV = generation digest (16 B), commit id (16 B), control (JSON), the
-- members of control.recent side by side, then for each of control.parts its pages
-- (layout.PAGE_DTYPE) and their rows (layout.PageKind.dtype).
-- control: now_ms, count (partitions of the topic), absent_ms {{partition, ms}},
--   partitions {{partition, start, end, witness_offset, witness_append_ms, complete_ms}},
--   ids {{slice, {bucket, id, ...} of sets that get one, {{bucket, id, id, ...}}}},
--   calls {{digest, bucket, old_slice | -1, old, new_slice, new}},
--   tallies {{name, n}}, epoch and names (what the ids of its pages are of, as `names` said),
--   parts {{head, tier, room (layout.PageKind), chunk_ms, kept_ms, key_bytes, numbers, number_bytes}},
--   people {{tenant, {word}}} (schemas/store/directory.py), users_max,
--   recent {{tenant, {ms, bytes, ...}}} (schemas/store/recent_calls.py), recent_max,
--   chats {{tenant, characters, {note}}} (chats.lua), chats_max, chat_models_max,
--   slice_ms, id_buckets, call_buckets,
--   at_commits (how many commits the generation must have taken, else 'stale'; null: any)
-- Returns {'committed', pages that are due to be made compact} | {'mine'} (a reply was lost) | {'stale', partition...} |
--   {'remembered', id...} | {'calls', digest...} | {'missing'} | {'retired'} | {'digest'} |
--   {'held'} (a rebuild takes over old buckets: try again soon) | {'unnamed'} (its ids are of
--   another epoch); in all but the first nothing was written.
local function commit(keys, args)
  local prefix = prefix_of(keys[1])
  local control = cjson.decode(args[3])
  local meta = read_meta(keys[1])
  local refusal = refused(prefix, meta, args, control)
  if refusal then return refusal end
  if #control.parts > 0 and (control.epoch ~= epoch_of(meta) or control.names > meta.names) then
    return {'unnamed'}
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

  -- What fails here would fail again, loudly. With its ids remembered it would pass for a duplicate.
  local is_written, due_count = pcall(write, keys, args, control, meta, words)
  if not is_written then
    forget(prefix, control.ids, {})
    error(due_count)
  end
  return {'committed', due_count}
end

-- compact KEYS[1] = meta; ARGV = generation digest, epoch (as `names` said), then for each page its
-- entry of the list of what is due, how often pages of its chunk had been made compact when it was
-- read (layout.ChunkVersion), how many of its bytes were read, and what says the same in their place.
-- Where another worker was first, nothing is done: the page is no longer what was read. What was
-- appended since stays behind it. 0 bytes: it is gone, or compact as it is. All entries go off the
-- list but those that another one was first at, which may have left them for later.
-- Returns how many are still on the list; -1 where the server is not the one that was read, -2 while
-- a rebuild holds the generation.
local function compact(keys, args)
  local prefix, meta = prefix_of(keys[1]), read_meta(keys[1])
  if not meta or meta.digest ~= args[1] or epoch_of(meta) ~= args[2] then return -1 end
  if redis.call('EXISTS', prefix .. 'hold') == 1 then return -2 end
  local before, now, written = {}, {}, {}
  for at = 3, #args, 4 do
    local entry, seen = args[at], tonumber(args[at + 1])
    local length, bytes = tonumber(args[at + 2]), args[at + 3]
    local page, of = string.match(entry, '^((.*)%.%d+) ')
    local key, chunk_version_key = prefix .. page, prefix .. 'v' .. of
    if not before[chunk_version_key] then
      local found = redis.call('GETRANGE', chunk_version_key, 8, 15)
      before[chunk_version_key] = #found == 8 and struct.unpack('<i8', found) or -1
    end
    -- A page may be due twice, as too long and as over: it is no longer as read after the first.
    if length == 0 or (before[chunk_version_key] == seen and not written[key]) then
      if length > 0 and redis.call('STRLEN', key) >= length then
        redis.call('SET', key, bytes .. redis.call('GETRANGE', key, length, -1), 'KEEPTTL')
        now[chunk_version_key] = before[chunk_version_key] + 1
        written[key] = true
      end
      redis.call('LREM', prefix .. 'due', 1, entry)
    end
  end
  for key, count in pairs(now) do redis.call('SETRANGE', key, 8, struct.pack('<i8', count)) end
  return redis.call('LLEN', prefix .. 'due')
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
redis.register_function('odometer_names_@VERSION@', names)
redis.register_function{ -- where the memory is full it makes room
  function_name = 'odometer_compact_@VERSION@', callback = compact, flags = {'allow-oom'},
}
redis.register_function('odometer_open_@VERSION@', open)
redis.register_function('odometer_refuse_@VERSION@', refuse)
redis.register_function('odometer_accept_@VERSION@', accept)
redis.register_function{
  function_name = 'odometer_bookings_@VERSION@', callback = bookings, flags = {'no-writes'},
}
