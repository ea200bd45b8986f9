"""What the servers do in one step: scripts, each about the keys of one bucket.

All keys that a script touches are named: so a server that is just giving the bucket away refuses at the beginning, and
not in the middle. A script that adds sets the mark last, and nothing in it can fail before that: numbers that don't fit
stay at the highest.
"""

from __future__ import annotations

import hashlib
from typing import Final

TOP_MAX = 512
"""URLs with the most that a bucket remembers of each count."""
WORDS_MAX = 2000
"""Words that go with one call: Lua has a stack of 8000."""

_CHECK = """
local m = KEYS[1]
local f = redis.call('HMGET', m, d.s, d.s .. ':e', d.s .. ':l', d.s .. ':a')
local mark, epoch = tonumber(f[1] or '0'), tonumber(f[2] or '0')
if epoch < d.epoch then return {'behind', mark} end
if f[3] ~= d.life then return {'fenced', epoch} end
"""

ADD = (
    """
local d = cmsgpack.unpack(ARGV[1])
"""
    + _CHECK
    + f"""
if d.load then
  if redis.call('SISMEMBER', KEYS[2], d.load) == 1 then return {{'had', mark}} end
elseif mark >= d.last then
  return {{'had', mark, mark == d.last and f[4] or ''}}
elseif mark < d.before then
  return {{'behind', mark}}
elseif mark > d.before then
  return {{'strange', mark}}
end

local names, rows, width, told = d.names, d.rows, #d.names, {{}}

for i, a in ipairs(d.actors) do
  local key, member, likes, net, row, up, down = KEYS[a[1]], ARGV[i + 1], a[2], a[3], a[4], a[5], a[6]
  local off
  if likes then
    off = redis.call('SADD', key, member)
  else
    off = -redis.call('SREM', key, member)
  end
  off = net and off - net or 0
  if off ~= 0 and row > 0 then
    local at = off > 0 and up or down
    rows[row][at] = rows[row][at] + math.abs(off)
    told[#told + 1] = string.sub(KEYS[d.c + row], d.cut)
    told[#told + 1] = names[at]
    told[#told + 1] = math.abs(off)
  end
end

local function grow(key, field, n)
  local total = redis.pcall('HINCRBY', key, field, n)
  if type(total) == 'table' then
    redis.call('HSET', key, field, '{2**63 - 1}')
    return {2**63 - 1}
  end
  return total
end

-- Each call is sent on to replicas and logs, and costs more than what is in it.
local function together(command, key, words)
  for i = 1, #words, {WORDS_MAX} do
    redis.call(command, key, unpack(words, i, math.min(i + {WORDS_MAX - 1}, #words)))
  end
end

local least, ranked, fresh = {{}}, {{}}, {{}}
local function rank(key, total, url)
  if least[key] == nil then
    local last = redis.call('ZRANGE', key, {TOP_MAX - 1}, {TOP_MAX - 1}, 'WITHSCORES')
    least[key], ranked[key] = last[2] and tonumber(last[2]) or false, {{}}
  end
  if least[key] and -total > least[key] then
    -- It may be there, and have had more.
    if key == KEYS[d.net] then redis.call('ZADD', key, 'XX', -total, url) end
  else
    local words = ranked[key]
    words[#words + 1] = -total
    words[#words + 1] = url
  end
end

for i, row in ipairs(rows) do
  local key, url, likes, unlikes, new = KEYS[d.c + i], nil, nil, nil, false
  for j = 1, width do
    local n = row[j]
    if n ~= 0 then
      url = url or string.sub(key, d.cut)
      local total = grow(key, names[j], n)
      new = new or total == tonumber(n)
      if d.t then
        rank(KEYS[d.t + j], total, url)
        if j == d.likes then likes = total elseif j == d.unlikes then unlikes = total end
      end
    end
  end
  if new then
    fresh[#fresh + 1] = 0
    fresh[#fresh + 1] = url
  end
  if d.net and (likes or unlikes) then
    likes = likes or tonumber(redis.call('HGET', key, 'likes') or '0')
    unlikes = unlikes or tonumber(redis.call('HGET', key, 'unlikes') or '0')
    rank(KEYS[d.net], likes - unlikes, url)
  end
end
if #fresh > 0 then together('ZADD', KEYS[d.u], fresh) end
for key, words in pairs(ranked) do
  if #words > 0 then
    together('ZADD', key, words)
    redis.call('ZREMRANGEBYRANK', key, {TOP_MAX}, -1)
  end
end

local function as_text(row)
  local words = {{}}
  for j = 1, width do
    if row[j] ~= 0 then words[#words + 1] = names[j] .. '=' .. string.format('%.0f', tonumber(row[j])) end
  end
  return table.concat(words, ' ')
end

local function added(text, row)
  local sums, words = {{}}, {{}}
  for name, n in string.gmatch(text, '(%S+)=(%d+)') do sums[name] = tonumber(n) end
  for j = 1, width do
    if row[j] ~= 0 then sums[names[j]] = (sums[names[j]] or 0) + tonumber(row[j]) end
  end
  for name, n in pairs(sums) do words[#words + 1] = name .. '=' .. string.format('%.0f', n) end
  return table.concat(words, ' ')
end

local texts = {{}}
for _, p in ipairs(d.past) do
  local key, given, fields, places, words = KEYS[p[1]], p[3] or rows, {{}}, {{}}, {{}}
  for i, row in ipairs(given) do
    local text = not p[3] and texts[i] or as_text(row)
    if not p[3] then texts[i] = text end
    if text ~= '' then
      fields[#fields + 1] = string.sub(KEYS[d.c + (p[4] and p[4][i] or i)], d.cut)
      places[#fields] = i
    end
  end
  for i = 1, #fields, {WORDS_MAX} do
    local there = redis.call('HMGET', key, unpack(fields, i, math.min(i + {WORDS_MAX - 1}, #fields)))
    for k, had in ipairs(there) do
      local at = places[i + k - 1]
      words[#words + 1] = fields[i + k - 1]
      words[#words + 1] = had and added(had, given[at]) or (p[3] and as_text(given[at]) or texts[at])
    end
  end
  if #words > 0 then
    together('HSET', key, words)
    redis.call('EXPIRE', key, p[2])
  end
end

if d.load then
  redis.call('SADD', KEYS[2], d.load)
  return {{'done', mark}}
end
redis.call('HSET', m, d.s, d.last)
local answer = ''
if #told > 0 then
  answer = cmsgpack.pack(told)
  redis.call('HSET', m, d.s .. ':a', answer)
elseif f[4] then
  redis.call('HDEL', m, d.s .. ':a')
end
return {{'done', d.last, answer}}
"""
)
"""Add what came to a bucket, once, and move its mark; or what is loaded by a name.

Keys: marks; if it is loaded, the names of loads; those of which `d` says where they are. It tells what it added by
itself (URL, name, number, and so on), and again to who asks again.
"""

BEGIN = """
local m, s, epoch, life = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local f = redis.call('HMGET', m, s, s .. ':e', s .. ':l')
local held = tonumber(f[2] or '0')
if held > epoch or (held == epoch and f[3] ~= life) then return {'taken', held} end
redis.call('HSET', m, s .. ':e', epoch, s .. ':l', life)
return {'done', tonumber(f[1] or '0')}
"""
"""Be the newest life of a data directory, if no newer one is known. Keys: marks."""

JOIN = """
local settings, nodes, source, secret, version = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])
local f = redis.call('HMGET', settings, 'schema', 'readable from', 'actor secret')
if tonumber(f[2] or '0') > version then return {'too new', tonumber(f[1])} end
if f[3] and f[3] ~= secret then return {'secret', 0} end
redis.call('HSETNX', settings, 'schema', version)
redis.call('HSETNX', settings, 'readable from', version)
redis.call('HSETNX', settings, 'actor secret', secret)
local node = redis.call('HGET', nodes, source)
if not node then
  node = redis.call('HLEN', nodes) + 1
  redis.call('HSET', nodes, source, node)
end
return {'done', tonumber(node)}
"""
"""Be one of those who share the store. Keys: settings, nodes."""

MOVE = (
    """
local d = cmsgpack.unpack(ARGV[1])
"""
    + _CHECK
    + """
if mark >= d.last then return {'had', mark} end
if mark < d.before then return {'behind', mark} end
if mark > d.before then return {'strange', mark} end
redis.call('HSET', m, d.s, d.last)
if redis.call('HLEN', KEYS[2]) > 1 then
  redis.call('XADD', KEYS[3], 'MINID', '~', d.trim, '*', 'first', d.first, 'last', d.last, 'body', ARGV[2])
end
return {'done', d.last}
"""
)
"""All buckets have what is up to a table: move the mark, and tell the other nodes. Keys: marks, nodes, feed."""

READ = """
local f = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[1] .. ':a')
local found = {tonumber(f[1] or '0'), f[2] or ''}
for i = 2, #KEYS do found[i + 1] = redis.call('HGETALL', KEYS[i]) end
return found
"""
"""The mark, what was told last, and hashes, of one moment. Keys: marks, hashes."""

LIKING = """
local found = {tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')}
for i, place in ipairs(cmsgpack.unpack(ARGV[2])) do
  found[i + 1] = redis.call('SISMEMBER', KEYS[place], ARGV[i + 2])
end
return found
"""
"""The mark, and who is in which set, of one moment. Keys: marks, sets."""


def digest(text: str) -> bytes:
    """By which a script is called."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().encode()


SCRIPTS: Final = {digest(text): text for text in (ADD, BEGIN, JOIN, MOVE, READ, LIKING)}
