-- Store the events of a partition, in order, but for those that were stored within the window.
-- KEYS: the stream, and the ids of late. ARGV: window and keep in milliseconds, and the events, packed:
-- for each how many strings follow, then its id and its fields, each behind its length.
-- An event is stored before its id is: if a call fails between, what is sent again is stored.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
local packed, at, count = ARGV[3], 1, 0
while at <= #packed do
  count, at = struct.unpack('>I4', packed, at)
  local event = {struct.unpack('>' .. string.rep('I4c0', count), packed, at)}
  at = table.remove(event)
  if not redis.call('ZSCORE', KEYS[2], event[1]) then
    redis.call('XADD', KEYS[1], '*', unpack(event, 2))
    redis.call('ZADD', KEYS[2], now, event[1])
  end
end
if tonumber(ARGV[2]) > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', now - ARGV[2]))
end
return 1
