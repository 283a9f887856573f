package redislog

import "github.com/redis/go-redis/v9"

// The fields of a session's hash. The token is that of the newest claim; it
// stays when the session is released.
const (
	fieldState    = "s"
	fieldOwner    = "o"
	fieldToken    = "t"
	fieldReleased = "d"
	fieldExpires  = "e"
)

// Each script works on one session, KEYS[1]. ARGV[1] is the time before which
// an expired session counts as unknown. The first element of the answer is a
// verdict. sessionHead sets e, or leaves it false if there is no session.
const sessionHead = `
local e = redis.call('HGET', KEYS[1], 'e')
if e and tonumber(e) < tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1])
  e = false
end
`

// ARGV: token, state, owner, released, expires, ttl
const sessionWrite = `
redis.call('HSET', KEYS[1], 't', ARGV[2], 's', ARGV[3], 'o', ARGV[4], 'd', ARGV[5], 'e', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {'ok'}
`

var createScript = redis.NewScript(sessionHead + `
if e then return {'exists'} end
` + sessionWrite)

var storeScript = redis.NewScript(sessionHead + `
if not e then return {'unknown'} end
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[2] then return {'superseded'} end
` + sessionWrite)

// ARGV: token, now, expires, ttl
var claimScript = redis.NewScript(sessionHead + `
if not e then return {'unknown'} end
if ARGV[2] == '' then return {'superseded'} end
if tonumber(e) <= tonumber(ARGV[3]) then return {'expired'} end
local old = redis.call('HMGET', KEYS[1], 's', 'o', 'd', 'e')
redis.call('HSET', KEYS[1], 't', ARGV[2], 'o', ARGV[2], 'd', 0, 'e', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'ok', old[1], old[2], old[3], old[4]}
`)

// ARGV: token
var deleteScript = redis.NewScript(sessionHead + `
if not e then return {'ok'} end
if redis.call('HGET', KEYS[1], 't') ~= ARGV[2] then return {'superseded'} end
redis.call('DEL', KEYS[1])
return {'ok'}
`)

// enlistScript keeps the set of a browser's sessions, by when they may be
// forgotten: at least as long as any of them. ARGV: pid, until, now, ttl
var enlistScript = redis.NewScript(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
`)
