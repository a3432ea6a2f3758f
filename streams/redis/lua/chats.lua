-- The chats of a tenant, written by the commit that counts their events.
--
-- schemas/store/chats.py describes the keys, the record, and which update wins. `comes_after` and
-- AT_ONCE are those of schemas/store/directory.lua.
--
-- KEYS, ARGV: those of commit (commit.lua), of which this file reads control.chats, chats_max,
--   chat_models_max and chat_days_max.
-- Units: times are ms since 1970; 0 means "no update". Returns: this file registers no function.

local CHAT_HEAD = '<i8i8i8i8i8I4' -- five times, and the offset of the models, from 0
local CHAT_HEAD_BYTES = 44
local CHAT_TEXTS = '<I2c0I2c0I2c0I2c0'
local CHAT_TEXT = '<I2c0'
local CHAT_DAY = '<I2I3I3' -- day since 1970, and the first and last second of it with a request
local CHAT_DAY_BYTES = 8

-- Of two updates the one with the earlier (`sign` 1) or later (-1) time. At equal times the larger
-- text wins. A time of 0 is no update.
local function winner(ms, text, other_ms, other, sign)
  if other_ms == 0 then return ms, text end
  if ms == 0 or sign * other_ms < sign * ms then return other_ms, other end
  if ms == other_ms and comes_after(other, text) then return ms, other end
  return ms, text
end

-- Whether an update would change nothing in a record, which is nearly always so. This costs a tenth
-- of reading the whole record. (A model is found by its length and bytes together.)
local function is_known(record, note)
  if not record or note[7] or #record < CHAT_HEAD_BYTES then return false end
  local first, user_ms, _, _, _, models_at = struct.unpack(CHAT_HEAD, record)
  if note[2] < first or note[4] > 0 and (user_ms == 0 or note[4] <= user_ms) then return false end
  for _, use in ipairs(note[6]) do
    local packed = struct.pack(CHAT_TEXT, #use[1], use[1])
    if not string.find(record, packed, models_at + 1, true) then return false end
  end
  return true
end

-- The models of a record as a set, and their number.
local function models_of(record, at)
  local models, count = {}, 0
  while at <= #record do
    local whole, model, next_at = pcall(struct.unpack, CHAT_TEXT, record, at)
    if not whole then break end
    models[model], count, at = true, count + 1, next_at
  end
  return models, count
end

-- A stored chat: its five times, its four texts, and the offset of its models, from 1. nil if it is
-- no record.
local function read_chat(record)
  if not record or #record < CHAT_HEAD_BYTES then return nil end
  local first, user_ms, preview_ms, title_ms, tags_ms, models_at = struct.unpack(CHAT_HEAD, record)
  local whole, user, preview, title, tags =
    pcall(struct.unpack, CHAT_TEXTS, record, CHAT_HEAD_BYTES + 1)
  if not whole then return nil end
  return {first, user_ms, preview_ms, title_ms, tags_ms, user, preview, title, tags, models_at + 1}
end

-- The record after one more update of its chat, the models that are new to it, and those that it has no
-- room for. An update is {id, first_ms, last_ms, user_ms, user, {use}, title_ms, title, tags_ms, tags,
-- preview_ms, preview}, without the last six if it has none of them. A use is {model, day, first_s,
-- last_s, day, ...}.
local function heard_chat(record, note, models_max)
  local chat = read_chat(record)
  local first, user_ms, preview_ms, title_ms, tags_ms, user, preview, title, tags, models_at =
    unpack(chat or {note[2], 0, 0, 0, 0, '', '', '', '[]', 1})
  local old = chat and string.sub(record, models_at) or ''
  local models, count = models_of(old, 1)
  local added, refused, packed = {}, {}, {old}
  for _, use in ipairs(note[6]) do
    local model = use[1]
    if not models[model] and count + #added < models_max then
      added[#added + 1] = model
      packed[#packed + 1] = struct.pack(CHAT_TEXT, #model, model)
    elseif not models[model] then
      refused[model] = true
    end
  end
  user_ms, user = winner(user_ms, user, note[4], note[5], 1)
  if note[7] then
    title_ms, title = winner(title_ms, title, note[7], note[8], -1)
    tags_ms, tags = winner(tags_ms, tags, note[9], note[10], -1)
    preview_ms, preview = winner(preview_ms, preview, note[11], note[12], 1)
  end
  local texts = struct.pack(CHAT_TEXTS, #user, user, #preview, preview, #title, title, #tags, tags)
  local head = struct.pack(CHAT_HEAD, math.min(first, note[2]), user_ms, preview_ms, title_ms,
    tags_ms, CHAT_HEAD_BYTES + #texts)
  return head .. texts .. table.concat(packed), added, refused
end

-- The days of a chat and a model after one more use: each day has the earliest first and the latest last
-- second, and days_max days before the newest are kept.
local function used_days(data, use, days_max)
  local days, numbers, newest = {}, {}, 0
  local function add(day, first, last)
    local known = days[day]
    if known then
      known[1], known[2] = math.min(known[1], first), math.max(known[2], last)
    else
      days[day], numbers[#numbers + 1], newest = {first, last}, day, math.max(newest, day)
    end
  end
  for at = 1, #data - CHAT_DAY_BYTES + 1, CHAT_DAY_BYTES do
    local day, first, last = struct.unpack(CHAT_DAY, data, at)
    add(day, first, last)
  end
  for at = 2, #use, 3 do add(use[at], use[at + 1], use[at + 2]) end
  table.sort(numbers)
  local packed = {}
  for _, day in ipairs(numbers) do
    if day > newest - days_max then
      packed[#packed + 1] = struct.pack(CHAT_DAY, day, days[day][1], days[day][2])
    end
  end
  return table.concat(packed)
end

-- Adds uses of one model, {chat id, use} each.
local function write_days(key, uses, days_max)
  local ids, changed = {}, {}
  for index, one in ipairs(uses) do ids[index] = one[1] end
  for index, data in ipairs(redis.call('HMGET', key, unpack(ids))) do
    local new = used_days(data or '', uses[index][2], days_max)
    if new ~= data then changed[#changed + 1], changed[#changed + 2] = ids[index], new end
  end
  if #changed > 0 then redis.call('HSET', key, unpack(changed)) end
end

-- Drops the least recently used chats of a tenant until chats_max are left.
local function drop_chats(records, updates, models, days, chats_max)
  local over = redis.call('ZCARD', updates) - chats_max
  while over > 0 do
    local popped = redis.call('ZPOPMIN', updates, math.min(over, AT_ONCE))
    local ids = {}
    for index = 1, #popped, 2 do ids[#ids + 1] = popped[index] end
    for index, record in ipairs(redis.call('HMGET', records, unpack(ids))) do
      local chat = read_chat(record)
      for model in pairs(chat and models_of(record, chat[10]) or {}) do
        redis.call('SREM', models .. model, ids[index])
        redis.call('HDEL', days .. model, ids[index])
      end
    end
    redis.call('HDEL', records, unpack(ids))
    over = over - #ids
  end
end

-- Writes updates of one tenant's chats, each of another chat.
local function write_chats(records, updates, models, days, notes, control)
  local ids, scores, changed, used, uses = {}, {}, {}, {}, {}
  for index, note in ipairs(notes) do
    ids[index] = note[1]
    scores[2 * index - 1], scores[2 * index] = string.format('%.0f', note[3]), note[1]
  end
  redis.call('ZADD', updates, 'GT', unpack(scores))
  for index, record in ipairs(redis.call('HMGET', records, unpack(ids))) do
    local refused = {}
    if not is_known(record, notes[index]) then
      local new, added
      new, added, refused = heard_chat(record, notes[index], control.chat_models_max)
      changed[#changed + 1], changed[#changed + 2] = ids[index], new
      for _, model in ipairs(added) do redis.call('SADD', models .. model, ids[index]) end
    end
    for _, use in ipairs(notes[index][6]) do
      local model = use[1]
      if use[2] and not refused[model] then
        if not uses[model] then uses[model], used[#used + 1] = {}, model end
        table.insert(uses[model], {ids[index], use})
      end
    end
  end
  if #changed > 0 then redis.call('HSET', records, unpack(changed)) end
  for _, model in ipairs(used) do write_days(days .. model, uses[model], control.chat_days_max) end
end

-- A commit's updates of chats: {{tenant, characters of its name, {update as in `heard_chat`}}}.
local function note_chats(meta_key, control)
  local head = string.match(meta_key, '^{[^}]*}:') .. 'c:'
  for _, said in ipairs(control.chats) do
    local tenant, characters, notes = unpack(said)
    local records, updates = head .. 'r:' .. tenant, head .. 'u:' .. tenant
    local models = head .. 'm:' .. characters .. ':' .. tenant .. ':'
    local days = head .. 'd:' .. characters .. ':' .. tenant .. ':'
    for from = 1, #notes, AT_ONCE do
      local some = {unpack(notes, from, math.min(from + AT_ONCE - 1, #notes))}
      write_chats(records, updates, models, days, some, control)
    end
    drop_chats(records, updates, models, days, control.chats_max)
  end
end

