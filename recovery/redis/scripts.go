package redislog

import "github.com/redis/go-redis/v9"

// All scripts work on KEYS[1], the stream, and KEYS[2], the hash beside it:
// where the history starts, how many entries had been deleted from the stream
// when that was written, and when the history began, in ms.
//
// Ids are compared as text, because Lua's numbers do not hold 64 bits.
const scriptHead = `
local function split(id)
  return string.match(id, '^(%d+)%-(%d+)$')
end
local function smaller(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end
local function before(a, b)
  local ams, aseq = split(a)
  local bms, bseq = split(b)
  if ams ~= bms then return smaller(ams, bms) end
  return smaller(aseq, bseq)
end
local function preceding(id)
  local ms, seq = split(id)
  if seq ~= '0' then return ms .. '-' .. string.format('%.0f', tonumber(seq) - 1) end
  return string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615'
end
local function there()
  return redis.call('EXISTS', KEYS[1]) + redis.call('EXISTS', KEYS[2]) == 2
end
-- the newest id that the stream gave, its first entry's, and how many are gone
local function stream()
  local info, flat = {}, redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  local first = info['first-entry']
  return info['last-generated-id'], first and first[1], info['entries-added'] - info['length']
end
-- Others trim the stream too, and write nothing down: then all that is known is
-- that nothing is missing behind the first entry.
local function start(first, deleted)
  local known = redis.call('HMGET', KEYS[2], 'start', 'deleted')
  if first and deleted > tonumber(known[2]) then
    local at = preceding(first)
    if before(known[1], at) then return at end
  end
  return known[1]
end
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
`

// beginScript makes sure that there is a history. ARGV: an id that a new one
// has to be after; and the start of the one that is to be replaced, if any.
var beginScript = redis.NewScript(scriptHead + `
local last, first, deleted = '0-0', false, 0
local exists = redis.call('EXISTS', KEYS[1]) == 1
if exists then last, first, deleted = stream() end
if there() and start(first, deleted) ~= ARGV[2] then
  return {start(first, deleted), last, redis.call('HGET', KEYS[2], 'begun')}
end
-- Another node may have seen more than this one, from this very millisecond: the new history is behind it too.
local t = now()
local ms = string.format('%.0f', t + 1)
for _, id in ipairs({last, ARGV[1]}) do
  local after = string.format('%.0f', tonumber((split(id))) + 1)
  if smaller(ms, after) then ms = after end
end
local id = redis.call('XADD', KEYS[1], ms .. '-0', 'twine-start', ms)
last, first, deleted = stream()
redis.call('HSET', KEYS[2], 'start', id, 'deleted', deleted, 'begun', string.format('%.0f', t))
return {id, id, string.format('%.0f', t)}
`)

// extentScript answers where the history starts and ends, when it began, and
// whether the entries in ARGV are there.
const extentSource = scriptHead + `
if not there() then return {'lost'} end
local last, first, deleted = stream()
local answer = {'ok', start(first, deleted), last, redis.call('HGET', KEYS[2], 'begun')}
for i = 1, #ARGV do
  answer[#answer + 1] = tostring(#redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i]))
end
return answer
`

// appendScript appends a batch, once. KEYS[3] remembers the last batch of a
// node and what became of it; after it come the keys of the ids. ARGV: number of
// the batch, node, how long to remember ids and batches; and for each entry its
// namespace, type, data, id, and whether it is unlogged. The answer has an offset
// for each entry, with "=" in front if an entry with the same id has it.
var appendScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) + redis.call('EXISTS', KEYS[2]) < 2 then return {'lost'} end
local done = redis.call('GET', KEYS[3])
if done then
  done = cmsgpack.unpack(done)
  if done[1] == tonumber(ARGV[1]) then
    -- A write, so that a WAIT after this one is about the batch too.
    redis.call('PEXPIRE', KEYS[3], ARGV[4])
    return done[2]
  end
  if done[1] > tonumber(ARGV[1]) then return {'stale'} end
end
local answer, key = {'ok'}, 4
for i = 5, #ARGV, 5 do
  local id, first = ARGV[i + 3], false
  if id ~= '' then
    first = redis.call('GET', KEYS[key])
  end
  if first then
    answer[#answer + 1] = '=' .. first
  elseif id ~= '' then
    local at = redis.call('XADD', KEYS[1], '*', 'uid', ARGV[2], 'nsp', ARGV[i], 'type', ARGV[i + 1], 'data', ARGV[i + 2], 'id', id)
    redis.call('SET', KEYS[key], at, 'PX', ARGV[3])
    answer[#answer + 1] = at
  elseif ARGV[i + 4] ~= '' then
    answer[#answer + 1] = redis.call('XADD', KEYS[1], '*', 'uid', ARGV[2], 'nsp', ARGV[i], 'type', ARGV[i + 1], 'data', ARGV[i + 2], 'unlogged', '1')
  else
    answer[#answer + 1] = redis.call('XADD', KEYS[1], '*', 'uid', ARGV[2], 'nsp', ARGV[i], 'type', ARGV[i + 1], 'data', ARGV[i + 2])
  end
  if id ~= '' then key = key + 1 end
end
redis.call('SET', KEYS[3], cmsgpack.pack({tonumber(ARGV[1]), answer}), 'PX', ARGV[4])
return answer
`)

// forgetScript forgets an id, KEYS[1], that has the offset ARGV[1].
var forgetScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)

// trimScript drops the entries that are older than ARGV[1] ms, except the newest
// of all, and writes down where the history starts now.
var trimScript = redis.NewScript(scriptHead + `
if not there() then return 0 end
local last, first, deleted = stream()
if not first then return 0 end
local keep = string.format('%.0f', now() - tonumber(ARGV[1])) .. '-0'
if before(last, keep) then keep = last end
-- XREVRANGE looks at the whole stream if nothing is that old.
if not before(first, keep) then return 0 end
local gone = redis.call('XREVRANGE', KEYS[1], '(' .. keep, '-', 'COUNT', 1)
if #gone == 0 then return 0 end
local from = start(first, deleted)
if before(from, gone[1][1]) then from = gone[1][1] end
local n = redis.call('XTRIM', KEYS[1], 'MINID', '=', keep)
last, first, deleted = stream()
redis.call('HSET', KEYS[2], 'start', from, 'deleted', deleted)
return n
`)
