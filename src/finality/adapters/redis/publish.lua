-- Store the events of a partition, in order, but for those that were stored within the window.
-- KEYS: the stream, and the ids of late. ARGV: window and keep in milliseconds; then for each event
-- its id, how many fields follow, and these.
-- An event is stored before its id is: if a call fails between, what is sent again is stored.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
local at = 3
while at <= #ARGV do
  local id, count = ARGV[at], tonumber(ARGV[at + 1])
  if not redis.call('ZSCORE', KEYS[2], id) then
    redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 2, at + 1 + count))
    redis.call('ZADD', KEYS[2], now, id)
  end
  at = at + 2 + count
end
if tonumber(ARGV[2]) > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', now - ARGV[2]))
end
return 1
