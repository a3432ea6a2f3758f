-- The meta record of a generation, and what every function here shares. schemas/store/layout.py
-- describes the keys, the rows and the meta record.
--
-- Each function of the library is one atomic step. An error in a function does not undo what it has
-- written, so a function first checks everything and then writes.
--
-- The library's name carries a digest of its text, and a library is never replaced: two versions of
-- a worker each call the functions that they were tested with.
--
-- KEYS: KEYS[1] is always the key of a meta record. Its prefix (all but 'meta') is that of the
--   generation's other keys. All keys have one hash tag, so they lie on one node of a cluster.
-- ARGV: each function lists its own.
-- Units: times are ms since 1970. Lua has doubles only, exact up to 2^53. Positions, times and
--   counts of names are far below. Sums of measures may be larger, so rows are passed as bytes.
-- Returns: this file registers no function.

local HEADER = '<c4I4c16I4I4i8i8i8i8i8i8i8i8i8i8i8i8'
local OLD_HEADER = '<c4I4c16I4I4i8i8i8i8i8i8i8c8' -- of layouts 3 to 5, without the times that are closed
local OLD_HEADER_BYTES = 96
local PADDING = '\0\0\0\0\0\0\0\0'
local HEADER_BYTES = 128
local PARTITION = '<i8c16i8i8i8i8i8'
local PARTITION_BYTES = 64
local MAGIC, LIVE, RETIRED = 'ODO1', 1, 2
local NO_COMMIT = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' -- libraries are not available at load
local MINUTE_MS = 60000
local NAMES_MAX = 1000 -- arguments of one command: the stack holds 8,000
local TEXTS_MAX = 20000 -- 60 B each

local function read_meta(key)
  local data = redis.call('GET', key)
  if not data then return nil end
  local meta = {parts = {}, closed = {}, closing = {}}
  local magic, header, header_bytes = nil, HEADER, HEADER_BYTES
  meta.is_old = #data % PARTITION_BYTES == OLD_HEADER_BYTES % PARTITION_BYTES
  if meta.is_old then header, header_bytes = OLD_HEADER, OLD_HEADER_BYTES end
  magic, meta.state, meta.digest, meta.count, meta.cursor, meta.history_from, meta.commits,
    meta.slice_low, meta.slice_high, meta.names, meta.created, meta.refused,
    meta.closed[1], meta.closed[2], meta.closing[1], meta.closing[2],
    meta.hours_from = struct.unpack(header, data)
  if magic ~= MAGIC then return nil end
  if meta.is_old then meta.closed, meta.closing = {0, 0}, {0, 0} end -- nothing is committed there
  for index = 1, meta.count do
    local position, commit, witness_offset, witness_append, complete, committed, refused =
      struct.unpack(PARTITION, data, header_bytes + (index - 1) * PARTITION_BYTES + 1)
    meta.parts[index] = {
      position = position, commit = commit, witness_offset = witness_offset,
      witness_append = witness_append, complete = complete, committed = committed,
      refused = refused,
    }
  end
  return meta
end

local function write_meta(key, meta)
  local numbers = {MAGIC, meta.state, meta.digest, #meta.parts, meta.cursor, meta.history_from,
    meta.commits, meta.slice_low, meta.slice_high, meta.names, meta.created, meta.refused}
  if not meta.is_old then
    for _, times in ipairs({meta.closed, meta.closing}) do
      numbers[#numbers + 1] = times[1]
      numbers[#numbers + 1] = times[2]
    end
  end
  numbers[#numbers + 1] = meta.is_old and PADDING or meta.hours_from
  local out = {struct.pack(meta.is_old and OLD_HEADER or HEADER, unpack(numbers))}
  for _, part in ipairs(meta.parts) do
    out[#out + 1] = struct.pack(PARTITION, part.position, part.commit, part.witness_offset,
      part.witness_append, part.complete, part.committed, part.refused)
  end
  redis.call('SET', key, table.concat(out))
end

-- closed: ms until which minutes and quarter-hours are closed (streams/redis/closing.py).
local function new_meta(digest, now_ms, closed)
  return {state = LIVE, closed = closed, closing = {closed[1], closed[2]}, hours_from = 0,
    digest = digest, cursor = 0, history_from = 0, commits = 0, slice_low = 0, slice_high = 0,
    names = 0, created = now_ms, refused = 0, parts = {}}
end

-- Adds partitions until there are `count`. absent: {{partition, ms}}, nothing was acknowledged
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

-- Whole numbers as text, from a cache: formatting one takes a third of a microsecond.
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

-- What ids are valid for: this run of the server and this life of the counters. The first is a Lua
-- variable, so a restart loses it: the server may have come back from an older copy. A caller
-- proposes a new value for it.
local server_epoch
local function epoch_of(meta, proposed)
  if not server_epoch then server_epoch = proposed end
  return (server_epoch or '') .. string.format('.%.0f', meta.created)
end

-- A reply about some of a commit's subjects: Lua's stack holds 8,000.
local function reply_of(outcome, subjects)
  return {outcome, unpack(subjects, 1, math.min(#subjects, 5000))}
end

-- The first check of a commit: nil, or the reply that says what does not match.
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

-- Whether digests under the secret of this name belong to the generation. Its key holds the name
-- (16 characters), then the key of the hash.
local function has_secret(prefix, name)
  return name ~= '' and redis.call('GETRANGE', prefix .. 'key', 0, 15) == name
end

-- The checks of a commit before those of its event ids: nil, or the reply.
local function refused(prefix, meta, args, control)
  local refusal = mismatch(meta, args[1], args[2], control.partitions)
  if refusal then return refusal end
  if not has_secret(prefix, control.secret) then return {'stale'} end
  if control.at_commits ~= cjson.null and control.at_commits ~= meta.commits then
    return {'stale'}
  end
  if redis.call('EXISTS', prefix .. 'hold') == 1 then return {'held'} end
  return nil
end
