// Package engineio is an Engine.IO v4 server on net/http: the transport layer of Socket.IO.
//
// A [Session] is one logical connection to a client. It starts over HTTP long-polling or WebSocket and may be
// upgraded from the first to the second without losing or reordering a message in either direction. The server
// watches each session with pings and closes it when the client stops answering. WebTransport is a third transport, for
// those who also use the package webtransport, which brings its streams here ([Server.ServeStream]).
//
// # How sending works
//
// A [Message] is encoded and framed once and then shared: a broadcast to 5,000 sessions queues 5,000 pointers to
// the same bytes. [Session.Send] only queues. A small, fixed set of flushers (one per CPU) writes what has piled up
// on a session in one system call and never waits for a connection: one that cannot take more bytes is set aside
// until it is writable again, so a slow consumer delays nobody else. Its queue is bounded in bytes
// ([Options.MaxQueueBytes]); past the bound the session is closed with [ReasonSlowConsumer].
//
// # What an idle WebSocket costs
//
// On Linux no goroutine, if it is a plain TCP or Unix connection: it is parked in an epoll set, one a server, and gets a
// goroutine when it becomes readable. Elsewhere, over TLS, and where epoll is refused, it is one goroutine that waits.
// Read buffers are borrowed from a pool when bytes arrive, all heartbeats share one timer wheel, and net/http's own
// buffers are let go after the handshake.
//
// The protocol: https://socket.io/docs/v4/engine-io-protocol/
package engineio
