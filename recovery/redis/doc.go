// Package redislog keeps the history and the sessions of a cluster in Redis.
//
// # One stream
//
// All nodes of a cluster append to one Redis stream, in the wire format of
// @socket.io/redis-streams-adapter 0.3, so that servers of Node and emitters can
// take part (see package wire). Redis gives each entry its id, and that is its
// offset in the log: there is one order, and each node hands entries out in it,
// from one goroutine, and nothing ahead of it. Several namespaces share the
// stream; a [Sequencer] is one namespace's view.
//
// [Streams] spreads namespaces over several streams, with one order for each.
//
// # Appending
//
// What is to be appended waits in a queue, and one goroutine brings it to Redis,
// batch by batch, by a script. The script knows which batch it has seen last
// from which node, so that a batch whose answer got lost can be sent again. In
// the same step it looks up the idempotency keys: an entry whose key is known is
// not appended again, and gets the offset of the first.
//
// An entry is accepted when the stream has it, when this node has handed it
// out, and, if there is an [Archive], when that has it too. Killed between any
// two of these steps, a node leaves an entry that others hand out or nobody
// does; publishing it again with the same key delivers it once.
//
// # A hole is always noticed
//
// Beside the stream a hash says where the history starts: with the id of the
// newest entry that was trimmed, or of the marker with which a stream begins.
// Every read is followed, on the same connection, by a look at whether the
// entry that was read last is still there, or is that start. A stream only ever
// loses entries at its front (trimmed), at its end (a crash, a failover) or
// altogether (flushed): so if it is there, the read followed it without a gap.
// The same is asked about the newest entry that this node appended.
//
// If not, entries may be missing. A stream that lost its end or everything is
// begun anew, with a marker whose id is above all that this node has seen, so
// that offsets never go backwards; whoever reads the marker knows that there is
// a hole. The node skips the hole and tells its user, see
// [SequencerOptions].Gap, who has to disconnect the clients: they come back with
// their own positions, and are restored from a deeper tier, or are told what
// they missed.
//
// # What Redis has to be
//
// Redis 7 or later. How much of the stream outlives a crash of Redis is for its
// own configuration to say (appendfsync); what it does lose becomes a hole, not
// silence. A Redis Cluster works: all keys of one stream have the hash tag of its
// name. Scripts and reads must not be routed to replicas. With
// [Options].Replicas, accepted entries outlive a failover, and no others are handed
// out. Without, an entry that Redis lost before its publisher knew that it was
// there, and that is published again, may come a second time behind the hole.
package redislog
