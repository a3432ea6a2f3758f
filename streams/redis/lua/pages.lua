-- The pages of counters: commits append rows, and `compact` replaces a page by its compact form.
-- Registers `compact`.
--
-- KEYS[1] = meta. ARGV: see `compact`. Units: lengths and rooms are bytes. Returns: see `compact`.

local COMPACT = '\255\255' -- begins a compact page; then follows its compact length

-- The pages of a chunk that are not closed yet: page -> how many of its bytes the coarser tiers
-- have, its room, and the form of its rows.
local function open_key(prefix, closes, number)
  return prefix .. 'o' .. closes .. '.' .. text_of(number)
end

-- The length of a page when it was last compacted; 0 if it never was.
local function compact_length(key)
  local head = redis.call('GETRANGE', key, 0, 5)
  if string.sub(head, 1, 2) ~= COMPACT then return 0 end
  return (struct.unpack('<I4', head, 3))
end

-- Appends rows to a page of a chunk. If they are its first rows, it queues the page before it in
-- time for compaction; a page that will be closed is noted as open instead, and does not expire. It
-- also queues a page that has outgrown its room.
local function append(chunk, page, bytes, spec, queue)
  local key = chunk.key .. page
  local length = redis.call('APPEND', key, bytes)
  if length == #bytes then
    if chunk.open then
      redis.call('HSET', chunk.open, chunk.name .. page, '0' .. spec.shape)
      return
    end
    redis.call('PEXPIREAT', key, chunk.expires)
    queue[#queue + 1] = chunk.before .. page .. spec.form .. ' 1'
    return
  end
  if chunk.is_closing then
    redis.call('PERSIST', key)
    redis.call('HSETNX', chunk.open, chunk.name .. page, text_of(length - #bytes) .. spec.shape)
  end
  if length > spec.room
    and math.floor(length / spec.room) ~= math.floor((length - #bytes) / spec.room)
    and length >= 2 * compact_length(key) + spec.room then
    queue[#queue + 1] = chunk.name .. page .. spec.form .. ' 0'
  end
end

-- A chunk of a tenant that the commit appends to. Updates the chunk's version. `open`: the key of
-- the open pages, if they are to be closed; `is_closing`: if that has begun.
local function touched(prefix, stem, number, tenant, meta, spec)
  local name = stem .. text_of(number) .. '.' .. text_of(tenant)
  local expires = text_of((number + 1) * spec.chunk_ms + spec.kept_ms)
  local chunk_version = prefix .. 'v' .. name
  local from_ms, open, is_closing = number * spec.chunk_ms, nil, false
  if spec.closes > 0 and from_ms >= meta.closed[spec.closes] then
    open = open_key(prefix, spec.closes, number)
    is_closing = from_ms < meta.closing[spec.closes]
  end
  if redis.call('SETRANGE', chunk_version, 0, struct.pack('<i8', meta.commits + 1)) == 8 then
    redis.call('SETRANGE', chunk_version, 8, struct.pack('<i8', 0))
    if not open then redis.call('PEXPIREAT', chunk_version, expires) end
  elseif is_closing then
    redis.call('PERSIST', chunk_version)
  end
  return {open = open, is_closing = is_closing, number = number, tenant = tenant,
    name = name .. '.', key = prefix .. name .. '.',
    before = stem .. text_of(number - 1) .. '.' .. text_of(tenant) .. '.', expires = expires}
end

-- The pages of one kind and tier, of {head, tier, room in bytes, chunk_ms, kept_ms, key_bytes,
-- numbers, number_bytes, closes}. closes: which of meta.closed the tier has (0: it is not closed).
local function spec_of(entry)
  local head, tier, room, chunk_ms, kept_ms, key_bytes, count, number_bytes, closes = unpack(entry)
  local form = ' ' .. key_bytes .. ' ' .. count .. ' ' .. number_bytes
  return {stem = head .. '.' .. tier .. '.', chunk_ms = chunk_ms, kept_ms = kept_ms, room = room,
    form = form, shape = ' ' .. room .. form, closes = closes}
end

-- One of control.parts: appends its rows to its pages. Rows of a tenant and chunk follow each
-- other.
local function append_part(prefix, entry, pages, rows, meta, queue)
  local spec, from, chunk = spec_of(entry), 1, {}
  for at = 1, #pages, 16 do
    local number, tenant, page, length = struct.unpack('<I4I4I4I4', pages, at)
    if number ~= chunk.number or tenant ~= chunk.tenant then
      chunk = touched(prefix, spec.stem, number, tenant, meta, spec)
    end
    local upto = from + length
    append(chunk, text_of(page), string.sub(rows, from, upto - 1), spec, queue)
    from = upto
  end
end

-- Adds pages to the compaction queue. Returns its length.
local function queue_pages(prefix, queue)
  local key = prefix .. 'due'
  for from = 1, #queue, NAMES_MAX do
    redis.call('RPUSH', key, unpack(queue, from, math.min(#queue, from + NAMES_MAX - 1)))
  end
  return redis.call('LLEN', key)
end

-- Whether the coarser tiers have some of a page's rows and lack others.
local function is_half_closed(prefix, meta, closing, page)
  local tier, number = string.match(page, '%.(%d+)%.(%d+)%.%d+%.%d+$')
  local of = closing[tier]
  if not of or number * of[1] < meta.closed[of[2]] then return false end
  local found = redis.call('HGET', open_key(prefix, of[2], tonumber(number)), page)
  return found and string.sub(found, 1, 2) ~= '0 '
end

-- compact KEYS[1] = meta; ARGV = generation digest, epoch (as `names` returned it), JSON of
-- {tier: {chunk_ms, closes}} of tiers that are closed, then for each page: its entry of the
-- compaction queue, how often pages of its chunk had been compacted when it was read (`ChunkVersion`
-- in schemas/store/chunk_version.py), how many of its bytes were read, and the rows that replace them
-- (0 bytes: the page is gone, or compact already).
-- If another worker was first, the page is no longer as it was read, and nothing is done. A page that
-- is closed in part is left to `close`. Rows that were appended since stay behind the new ones.
-- Entries leave the queue, except those where another worker was first: it may have left them for
-- later.
-- Returns the length of the queue; -1 if this is not the server that was read, -2 while a rebuild
-- holds the generation.
local function compact(keys, args)
  local prefix, meta = prefix_of(keys[1]), read_meta(keys[1])
  if not meta or meta.digest ~= args[1] or epoch_of(meta) ~= args[2] then return -1 end
  if redis.call('EXISTS', prefix .. 'hold') == 1 then return -2 end
  local before, now, written, closing = {}, {}, {}, cjson.decode(args[3])
  for at = 4, #args, 4 do
    local entry, seen = args[at], tonumber(args[at + 1])
    local length, bytes = tonumber(args[at + 2]), args[at + 3]
    local page, of = string.match(entry, '^((.*)%.%d+) ')
    local key, chunk_version_key = prefix .. page, prefix .. 'v' .. of
    if not before[chunk_version_key] then
      local found = redis.call('GETRANGE', chunk_version_key, 8, 15)
      before[chunk_version_key] = #found == 8 and struct.unpack('<i8', found) or -1
    end
    -- A page may be queued twice, as too long and as ended: after the first it is not as read.
    if length == 0 or (before[chunk_version_key] == seen and not written[key]) then
      if length > 0 and redis.call('STRLEN', key) >= length
        and not is_half_closed(prefix, meta, closing, page) then
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

redis.register_function{ -- it makes room when the memory is full
  function_name = 'odometer_compact_@VERSION@', callback = compact, flags = {'allow-oom'},
}
