-- The chats of a tenant, written by the commit that counts their events: schemas/chats.py describes
-- the keys, the record and which word wins. `comes_after` and AT_ONCE are those of directory.lua.

local CHAT = '<i8i8i8i8i8I2c0I2c0I2c0I2c0' -- then its models, each as
local CHAT_TEXT = '<I2c0'

-- The word of the earlier (`sign` 1) or later (-1) time, of equal times the larger text; a time of
-- 0 is no word.
local function winner(ms, text, other_ms, other, sign)
  if other_ms == 0 then return ms, text end
  if ms == 0 or sign * other_ms < sign * ms then return other_ms, other end
  if ms == other_ms and comes_after(other, text) then return ms, other end
  return ms, text
end

-- A stored chat: its five times, its four texts, its models by name and how many, and where those
-- begin. What is no record counts as nothing known.
local function read_chat(record)
  local chat = {math.huge, 0, 0, 0, 0, '', '', '', '[]', models = {}, count = 0}
  if not record then return chat end
  local found = {pcall(struct.unpack, CHAT, record)}
  if not found[1] then return chat end
  for index = 1, 9 do chat[index] = found[index + 1] end
  local at = found[11]
  chat.models_at = at
  while at <= #record do
    local whole, model, next_at = pcall(struct.unpack, CHAT_TEXT, record, at)
    if not whole then return chat end
    chat.models[model], chat.count, at = true, chat.count + 1, next_at
  end
  return chat
end

-- The record with one more word about its chat {id, first_ms, last_ms, user_ms, user, {model},
-- title_ms, title, tags_ms, tags, preview_ms, preview}, the last six where one of them is said; and
-- the models that are new to it. nil where it says nothing new.
local function heard_chat(record, note, models_max)
  local chat = read_chat(record)
  local first, user_ms, preview_ms, title_ms, tags_ms, user, preview, title, tags = unpack(chat)
  local added = {}
  for _, model in ipairs(note[6]) do
    if not chat.models[model] and chat.count + #added < models_max then
      added[#added + 1] = model
    end
  end
  local is_known = note[2] >= first and (note[4] == 0 or user_ms > 0 and note[4] > user_ms)
  if is_known and not note[7] and #added == 0 then return nil end
  user_ms, user = winner(user_ms, user, note[4], note[5], 1)
  if note[7] then
    title_ms, title = winner(title_ms, title, note[7], note[8], -1)
    tags_ms, tags = winner(tags_ms, tags, note[9], note[10], -1)
    preview_ms, preview = winner(preview_ms, preview, note[11], note[12], 1)
  end
  local out = {struct.pack(CHAT, math.min(first, note[2]), user_ms, preview_ms, title_ms, tags_ms,
    #user, user, #preview, preview, #title, title, #tags, tags)}
  if chat.models_at then out[2] = string.sub(record, chat.models_at) end
  for _, model in ipairs(added) do out[#out + 1] = struct.pack(CHAT_TEXT, #model, model) end
  return table.concat(out), added
end

-- Drops the chats of a tenant that rested longest, so that chats_max are left.
local function drop_chats(records, updates, models, chats_max)
  local over = redis.call('ZCARD', updates) - chats_max
  while over > 0 do
    local popped = redis.call('ZPOPMIN', updates, math.min(over, AT_ONCE))
    local ids = {}
    for index = 1, #popped, 2 do ids[#ids + 1] = popped[index] end
    for index, record in ipairs(redis.call('HMGET', records, unpack(ids))) do
      for model in pairs(read_chat(record).models) do
        redis.call('SREM', models .. model, ids[index])
      end
    end
    redis.call('HDEL', records, unpack(ids))
    over = over - #ids
  end
end

-- Some words about chats of one tenant, each about another one.
local function write_chats(records, updates, models, notes, models_max)
  local ids, scores, changed = {}, {}, {}
  for index, note in ipairs(notes) do
    ids[index] = note[1]
    scores[2 * index - 1], scores[2 * index] = string.format('%.0f', note[3]), note[1]
  end
  redis.call('ZADD', updates, 'GT', unpack(scores))
  for index, record in ipairs(redis.call('HMGET', records, unpack(ids))) do
    local new, added = heard_chat(record, notes[index], models_max)
    if new then
      changed[#changed + 1], changed[#changed + 2] = ids[index], new
      for _, model in ipairs(added) do redis.call('SADD', models .. model, ids[index]) end
    end
  end
  if #changed > 0 then redis.call('HSET', records, unpack(changed)) end
end

-- What a commit says of chats: {{tenant, characters of its name, {note as in `heard_chat`}}}.
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

