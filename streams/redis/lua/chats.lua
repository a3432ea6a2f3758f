-- The chats of a tenant, written by the commit that counts their events.
--
-- schemas/store/chats.py describes the keys, the record, and which update wins. `comes_after` and
-- AT_ONCE are those of schemas/store/directory.lua.
--
-- KEYS, ARGV: those of commit (commit.lua), of which this file reads control.chats, chats_max and
--   chat_models_max.
-- Units: times are ms since 1970; 0 means "no update". Returns: this file registers no function.

local CHAT_HEAD = '<i8i8i8i8i8I4' -- five times, and the offset of the models, from 0
local CHAT_HEAD_BYTES = 44
local CHAT_TEXTS = '<I2c0I2c0I2c0I2c0'
local CHAT_TEXT = '<I2c0'

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
  for _, model in ipairs(note[6]) do
    local packed = struct.pack(CHAT_TEXT, #model, model)
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

-- The record after one more update of its chat, and the models that are new to it. An update is
-- {id, first_ms, last_ms, user_ms, user, {model}, title_ms, title, tags_ms, tags, preview_ms,
-- preview}, without the last six if it has none of them.
local function heard_chat(record, note, models_max)
  local chat = read_chat(record)
  local first, user_ms, preview_ms, title_ms, tags_ms, user, preview, title, tags, models_at =
    unpack(chat or {note[2], 0, 0, 0, 0, '', '', '', '[]', 1})
  local old = chat and string.sub(record, models_at) or ''
  local models, count = models_of(old, 1)
  local added, packed = {}, {old}
  for _, model in ipairs(note[6]) do
    if not models[model] and count + #added < models_max then
      added[#added + 1] = model
      packed[#packed + 1] = struct.pack(CHAT_TEXT, #model, model)
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
  return head .. texts .. table.concat(packed), added
end

-- Drops the least recently used chats of a tenant until chats_max are left.
local function drop_chats(records, updates, models, chats_max)
  local over = redis.call('ZCARD', updates) - chats_max
  while over > 0 do
    local popped = redis.call('ZPOPMIN', updates, math.min(over, AT_ONCE))
    local ids = {}
    for index = 1, #popped, 2 do ids[#ids + 1] = popped[index] end
    for index, record in ipairs(redis.call('HMGET', records, unpack(ids))) do
      local chat = read_chat(record)
      for model in pairs(chat and models_of(record, chat[10]) or {}) do
        redis.call('SREM', models .. model, ids[index])
      end
    end
    redis.call('HDEL', records, unpack(ids))
    over = over - #ids
  end
end

-- Writes updates of one tenant's chats, each of another chat.
local function write_chats(records, updates, models, notes, models_max)
  local ids, scores, changed = {}, {}, {}
  for index, note in ipairs(notes) do
    ids[index] = note[1]
    scores[2 * index - 1], scores[2 * index] = string.format('%.0f', note[3]), note[1]
  end
  redis.call('ZADD', updates, 'GT', unpack(scores))
  for index, record in ipairs(redis.call('HMGET', records, unpack(ids))) do
    if not is_known(record, notes[index]) then
      local new, added = heard_chat(record, notes[index], models_max)
      changed[#changed + 1], changed[#changed + 2] = ids[index], new
      for _, model in ipairs(added) do redis.call('SADD', models .. model, ids[index]) end
    end
  end
  if #changed > 0 then redis.call('HSET', records, unpack(changed)) end
end

-- A commit's updates of chats: {{tenant, characters of its name, {update as in `heard_chat`}}}.
local function note_chats(meta_key, control)
  local head = string.match(meta_key, '^{[^}]*}:') .. 'c:'
  for _, said in ipairs(control.chats) do
    local tenant, characters, notes = unpack(said)
    local records, updates = head .. 'r:' .. tenant, head .. 'u:' .. tenant
    local models = head .. 'm:' .. characters .. ':' .. tenant .. ':'
    for from = 1, #notes, AT_ONCE do
      local some = {unpack(notes, from, math.min(from + AT_ONCE - 1, #notes))}
      write_chats(records, updates, models, some, control.chat_models_max)
    end
    drop_chats(records, updates, models, control.chats_max)
  end
end

