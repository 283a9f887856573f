// Package pubsub joins servers to a cluster over Redis Pub/Sub, together with servers of Node that use
// @socket.io/redis-adapter 8.3 (its createAdapter, not the sharded one) and with @socket.io/redis-emitter 5.1. It is
// for clusters that still hold such servers; otherwise package streams promises more.
//
//	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true})
//	srv := twine.NewServer(&twine.Options{Adapter: pubsub.New(rdb, pubsub.Options{})})
//
// # What is promised
//
// Redis keeps nothing of what is published. What a server sends while Redis is away, or while another server is not
// connected to it, does not reach that server's sockets, and nothing brings it to them later: delivery to other servers
// is at most once. A server logs when it loses a connection, and when it has it back, and its calls return
// [ErrUnreachable] meanwhile. The sockets of the server that sends get everything all the time, and in one order. What
// one goroutine sends reaches the other servers in its order; what different servers send may be seen in different
// orders.
//
// There is no recovery across servers: no log, no offsets, no sessions of other servers. A server with
// twine.Options.Recovery needs another adapter. With this one its namespaces have no log, and whatever is emitted in them
// is an error.
//
// # Redis
//
// Each [New] has one connection that listens, for all namespaces, and publishes through the client that it is given,
// whose settings for timeouts and retries hold. A client that retries, as redis.NewClient makes it by default, publishes
// a second time what Redis had taken when the connection was cut: set MaxRetries to -1, unless twice is better than not
// at all. Redis disconnects a subscriber that is too far behind (client-output-buffer-limit pubsub), which then misses
// what others send until it is back.
//
// A Redis Cluster works. All that a server of Twine publishes then goes through the node that has the key, which keeps
// it in order. A redis.Ring does not work: its nodes do not pass messages on to each other.
//
// Servers with this adapter and servers with another one must not share a key: a server of Node ends when it gets
// what it does not understand.
//
// # Differences between Node and Twine
//
// Servers of Node and Twine pass all of a broadcast's binary values. Events from server to server are JSON, in which
// Node writes a Buffer as {"type":"Buffer","data":[...]}: such objects are binary values here, and binary values
// become such objects, which a server of Node has to make a Buffer of. A typed array of Node is an object with a member
// for each byte and stays one. A client's answer to a broadcast, and a server's to an event, has one argument in Node;
// between servers of Twine they keep all, and a client that disconnects is known to be lost at once. Rooms of Node
// that are numbers have their decimal form here.
package pubsub
