// Package twine is a Socket.IO server: unchanged socket.io-client 3.x and 4.x connect to it, over WebSocket and HTTP
// long-polling. It uses the words of Socket.IO and the ways of Go.
//
//	srv := twine.NewServer(nil)
//	srv.OnConnect(func(s *twine.Socket) {
//		s.Join("lobby")
//		twine.On(s, "chat", func(ctx context.Context, m Message) (Receipt, error) {
//			return save(ctx, m) // the result is the acknowledgement
//		})
//	})
//	http.Handle("/socket.io/", srv)
//
// # Who runs what
//
// Each [Socket], which is a client's place in a [Namespace], has its functions called one at a time and in order: the
// middleware, the connect handlers, a handler for each event that the client sends, the disconnect handlers. They run on
// a goroutine that exists only while there is something to do. They may block; other sockets do not notice. A handler
// may wait for the client's acknowledgement, see [Socket.EmitWithAck].
//
// What a client sends while its handlers are busy waits in an inbox. A full one ([Options.MaxPendingEvents]) holds the
// client's connection back, and if it stays full for a ping timeout, the connection is closed.
//
// A handler that panics is reported to the [Options.Logger] and disconnects its socket; nobody else notices.
//
// # Sending
//
// Emit and the like never wait for a client: they encode, queue and return. An error means that nothing was sent, for
// instance because an argument cannot be encoded, and matches one of this package's or package parser's errors. An
// argument is marshalled with package json, except that []byte values, alone or within maps and slices of any, travel as
// binary. What piles up for a client that reads too slowly is bounded by engineio.Options.MaxQueueBytes.
//
// Arguments are encoded before Emit returns, so they may be changed afterwards; binary values are copied too.
package twine
