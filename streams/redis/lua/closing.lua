-- Closing: the rows of pages whose time is over are added to the pages of coarser tiers, once.
-- streams/redis/closing.py describes it. Registers `close`.
--
-- KEYS[1] = meta. ARGV: see `close`. Units: times are ms since 1970, lengths are bytes. Returns: see
-- `close`.

local CHUNKS_AT_ONCE = 10000 -- that `closed` moves on by: nobody counted for a year

-- Moves meta.closed on to the first chunk that has an open page, as far as closing has begun.
-- Returns whether it has moved.
local function move_closed(prefix, meta, chunk_ms)
  local has_moved = false
  for closes = 1, #chunk_ms do
    local from = meta.closed[closes]
    for _ = 1, CHUNKS_AT_ONCE do
      local chunk = meta.closed[closes] / chunk_ms[closes]
      if meta.closed[closes] >= meta.closing[closes]
        or redis.call('EXISTS', open_key(prefix, closes, chunk)) == 1 then break end
      meta.closed[closes] = meta.closed[closes] + chunk_ms[closes]
    end
    has_moved = has_moved or meta.closed[closes] > from
  end
  return has_moved
end

-- Sets from when on chunks may be closed: never back, and no tier before the finer one.
local function move_closing(meta, proposed, chunk_ms)
  for closes = 1, #chunk_ms do
    local upto = proposed[closes]
    if closes > 1 then
      upto = math.min(upto, math.floor(meta.closed[closes - 1] / chunk_ms[closes]) * chunk_ms[closes])
    end
    meta.closing[closes] = math.max(meta.closing[closes], upto)
  end
end

-- Whether a page is still what was read: it may have grown.
local function is_as_read(prefix, one, key, compactions)
  return redis.call('HGET', open_key(prefix, one.closes, one.chunk), one.key) == one.open
    and compactions == one.compactions and redis.call('STRLEN', key) >= one.length
end

-- The page itself gets its compact form (0 bytes: it stays as it is). Rows that were appended since
-- it was read stay open.
local function close_page(prefix, one, key, compact)
  local tail = redis.call('GETRANGE', key, one.length, -1)
  local length = one.length
  if #compact > 0 then
    redis.call('SET', key, compact .. tail)
    length = #compact
  end
  local open = open_key(prefix, one.closes, one.chunk)
  if #tail > 0 then
    redis.call('HSET', open, one.key, text_of(length) .. ' ' .. one.shape)
    return
  end
  redis.call('HDEL', open, one.key)
  redis.call('PEXPIREAT', key, one.expires_ms)
  redis.call('PEXPIREAT', prefix .. one.version, one.expires_ms)
end

-- close KEYS[1] = meta; ARGV = generation digest, epoch (as `epoch_of` has it), control (JSON),
-- then for each of control.pages its compact form and its rows for each of `into`.
-- control: chunk_ms of each tier that is closed; closing: ms, for each of these tiers;
--   specs {{head, tier, ...}} (`spec_of` in pages.lua),
--   pages {{key, version (keys without the prefix), closes, chunk, open (its value in the hash of
--     open pages), shape (the end of that), compactions (of its chunk), length (that was read),
--     expires_ms, tenant, page, into {{index of a spec, chunk}}}}
-- A page that is no longer as it was read is left as it is: another worker was first.
--   epoch (proposed, if the server has none).
-- Returns {how many pages are open in the first chunk of each tier}; {-1, epoch} if this is not the
-- server that was read, {-2} while a rebuild holds the generation, {-3} if there is no such one.
local function close(keys, args)
  local prefix, meta = prefix_of(keys[1]), read_meta(keys[1])
  if not meta or meta.state ~= LIVE or meta.digest ~= args[1] then return {-3} end
  local control = cjson.decode(args[3])
  local epoch = epoch_of(meta, control.epoch)
  if epoch ~= args[2] then return {-1, epoch} end
  if redis.call('EXISTS', prefix .. 'hold') == 1 then return {-2} end
  local chunk_ms, began = control.chunk_ms, {unpack(meta.closing)}
  move_closing(meta, control.closing, chunk_ms)
  local specs, queue, versions, rewritten, count, at = {}, {}, {}, {}, 0, 4
  for index, entry in ipairs(control.specs) do specs[index] = spec_of(entry) end
  for _, one in ipairs(control.pages) do
    local key = prefix .. one.key
    if not versions[one.version] then
      local found = redis.call('GETRANGE', prefix .. one.version, 8, 15)
      versions[one.version] = #found == 8 and struct.unpack('<i8', found) or -1
    end
    if one.chunk * chunk_ms[one.closes] < meta.closing[one.closes]
      and is_as_read(prefix, one, key, versions[one.version]) then
      close_page(prefix, one, key, args[at])
      if #args[at] > 0 then rewritten[one.version] = versions[one.version] + 1 end
      for place, target in ipairs(one.into) do
        local spec, rows = specs[target[1]], args[at + place]
        if #rows > 0 then
          local chunk = touched(prefix, spec.stem, target[2], one.tenant, meta, spec)
          append(chunk, text_of(one.page), rows, spec, queue)
        end
      end
      count = count + 1
    end
    at = at + 1 + #one.into
  end
  for version, compactions in pairs(rewritten) do
    redis.call('SETRANGE', prefix .. version, 8, struct.pack('<i8', compactions))
  end
  local has_moved = move_closed(prefix, meta, chunk_ms)
  if count > 0 or has_moved or meta.closing[1] > began[1] or meta.closing[2] > began[2] then
    queue_pages(prefix, queue)
    if count > 0 then meta.commits = meta.commits + 1 end
    write_meta(keys[1], meta)
  end
  local left = {}
  for closes = 1, #chunk_ms do
    local chunk = meta.closed[closes] / chunk_ms[closes]
    left[closes] = redis.call('HLEN', open_key(prefix, closes, chunk))
  end
  return left
end

redis.register_function{ -- closed pages expire, so it makes room when the memory is full
  function_name = 'odometer_close_@VERSION@', callback = close, flags = {'allow-oom'},
}
