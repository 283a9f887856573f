package twine

import (
	"context"
	"time"
)

// The methods in this file are those of the main namespace, "/", which is all that many servers need.

// Use is [Namespace.Use] of the main namespace.
func (srv *Server) Use(m Middleware) { srv.main.Use(m) }

// OnConnect is [Namespace.OnConnect] of the main namespace.
func (srv *Server) OnConnect(f func(s *Socket)) { srv.main.OnConnect(f) }

// OnDisconnecting is [Namespace.OnDisconnecting] of the main namespace.
func (srv *Server) OnDisconnecting(f func(s *Socket, reason string)) { srv.main.OnDisconnecting(f) }

// OnDisconnect is [Namespace.OnDisconnect] of the main namespace.
func (srv *Server) OnDisconnect(f func(s *Socket, reason string)) { srv.main.OnDisconnect(f) }

// On is [Namespace.On] of the main namespace.
func (srv *Server) On(event string, f func(ctx context.Context, s *Socket, e *Event)) {
	srv.main.On(event, f)
}

// OnServerEvent is [Namespace.OnServerEvent] of the main namespace.
func (srv *Server) OnServerEvent(event string, f func(ctx context.Context, e *Event)) {
	srv.main.OnServerEvent(event, f)
}

// To is [Namespace.To] of the main namespace.
func (srv *Server) To(rooms ...string) BroadcastOperator { return srv.main.To(rooms...) }

// In is another name for To.
func (srv *Server) In(rooms ...string) BroadcastOperator { return srv.main.To(rooms...) }

// Except is [Namespace.Except] of the main namespace.
func (srv *Server) Except(rooms ...string) BroadcastOperator { return srv.main.Except(rooms...) }

// Volatile is [Namespace.Volatile] of the main namespace.
func (srv *Server) Volatile() BroadcastOperator { return srv.main.Volatile() }

// Local is [Namespace.Local] of the main namespace.
func (srv *Server) Local() BroadcastOperator { return srv.main.Local() }

// Compress is [Namespace.Compress] of the main namespace.
func (srv *Server) Compress(compress bool) BroadcastOperator { return srv.main.Compress(compress) }

// Timeout is [Namespace.Timeout] of the main namespace.
func (srv *Server) Timeout(d time.Duration) BroadcastOperator { return srv.main.Timeout(d) }

// Emit is [Namespace.Emit] of the main namespace.
func (srv *Server) Emit(event string, args ...any) error { return srv.main.Emit(event, args...) }

// EmitWithAck is [Namespace.EmitWithAck] of the main namespace.
func (srv *Server) EmitWithAck(ctx context.Context, event string, args ...any) ([]Reply, error) {
	return srv.main.EmitWithAck(ctx, event, args...)
}

// FetchSockets is [Namespace.FetchSockets] of the main namespace.
func (srv *Server) FetchSockets(ctx context.Context) ([]RemoteSocket, error) {
	return srv.main.FetchSockets(ctx)
}

// SocketsJoin is [Namespace.SocketsJoin] of the main namespace.
func (srv *Server) SocketsJoin(rooms ...string) error { return srv.main.SocketsJoin(rooms...) }

// SocketsLeave is [Namespace.SocketsLeave] of the main namespace.
func (srv *Server) SocketsLeave(rooms ...string) error { return srv.main.SocketsLeave(rooms...) }

// DisconnectSockets is [Namespace.DisconnectSockets] of the main namespace.
func (srv *Server) DisconnectSockets(closeTransport bool) error {
	return srv.main.DisconnectSockets(closeTransport)
}

// ServerSideEmit is [Namespace.ServerSideEmit] of the main namespace.
func (srv *Server) ServerSideEmit(event string, args ...any) error {
	return srv.main.ServerSideEmit(event, args...)
}

// ServerSideEmitWithAck is [Namespace.ServerSideEmitWithAck] of the main namespace.
func (srv *Server) ServerSideEmitWithAck(ctx context.Context, event string, args ...any) ([]Reply, error) {
	return srv.main.ServerSideEmitWithAck(ctx, event, args...)
}
