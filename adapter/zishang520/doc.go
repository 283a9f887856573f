// Package zishang520 lets a server that is built on github.com/zishang520/socket.io/v2
// (v2.5.0) join a cluster of Twine servers, so that a deployment can move over
// one node at a time:
//
//	stream, err := redislog.Open(ctx, rdb, redislog.Options{})
//	...
//	opts := socket.DefaultServerOptions()
//	opts.SetAdapter(zishang520.New(stream, zishang520.Options{}))
//	opts.SetParser(zishang520.Parser())
//	io := socket.NewServer(nil, opts)
//
// The example shows such a cluster, and the same application on both libraries:
//
//	go run ./examples/migrate-zishang520
//
// # What it gives
//
// Broadcasts, with or without acknowledgements, commands for rooms, fetched
// sockets, server-side events and the count of servers reach the whole cluster, in
// both directions. Broadcasts are part of the history: clients of Twine servers
// with recovery that were away get them too. All servers see one order, that of
// the stream, and so do the clients of the library's server: its own broadcasts
// come to them from the stream, too, and not before those that are ahead of them
// there. So a broadcast may arrive after Emit has returned, and after something
// that is sent to one socket directly.
//
// Who is in which room is kept in an index of ours, in which joins and leaves do
// not race. The library's own maps, which Adapter.Rooms and Adapter.Sids return,
// follow it.
//
// Arguments are what the library's own parser makes of them: numbers are float64,
// objects map[string]any, binary values *types.BytesBuffer. A packet can have ten
// binary values. An acknowledgement of a broadcast gets the first argument of each
// client's answer, as in Node, and that of a server-side event a []any of each
// server's arguments. What comes back from the history has lost its compress
// flag, and is compressed where the connection can.
//
// # Faults of the library
//
// These were measured with v2.5.0 over WebSocket, with two cores for servers and
// clients together, and the library with its own adapter and parser at first:
//
//	go run ./examples/migrate-zishang520/faults -show malformed
//
// An event without arguments, the message "42", ends the process. With Parser it
// ends its connection.
//
//	go run ./examples/migrate-zishang520/faults -show burst
//	go run ./examples/migrate-zishang520/faults -show publishers
//
// Of 500 broadcasts in a row 1 to 22 arrived; of 2,000 by four goroutines 2 to 19,
// and not the same for two clients. With the bridge all of them arrive, in one
// order. The cause is in the library's WebSocket transport: it drops what is
// queued behind a packet that was framed in advance, as the library's own adapters
// do and the bridge does not.
//
// With both servers of a cluster, four publishers on each and two clients on each,
// no client missed any of 4,000 events, and all got the same order:
//
//	go test -tags redis -run TestConcurrentPublishers -v ./adapter/zishang520
//
// These remain on the library's server:
//
//	go run ./examples/migrate-zishang520/faults -show order
//
// Each event of a client is handled on a goroutine of its own: of 1,000 numbered
// events 19 to 109 were handled right after a later one.
//
//	go run ./examples/migrate-zishang520/faults -show connect
//
// A client that joins as soon as the server has opened the connection is not
// always noticed: 0 to 7 of 500 got no answer. Real clients are a round trip
// slower.
//
// BroadcastOperator.Emit with an acknowledgement shares a variable between
// goroutines without synchronisation, which the race detector may report.
//
// A client of that server that was cut off does not get what it missed, whatever
// ConnectionStateRecovery says. If a part of the stream does not reach the server,
// its clients are disconnected, so that they can tell. Polling requests for a
// session of that server have to come to it: its sessions are not passed on.
package zishang520
